package conformance

import (
	"io"
	"net"
	"sync"
)

// A relay passes the connections that a listener of the device takes on to an address outside of it. What listens there by TLS cannot listen on
// the device itself.
type relay struct {
	listener net.Listener
	running  sync.WaitGroup
	once     sync.Once

	mu    sync.Mutex
	conns []net.Conn
}

func startRelay(l net.Listener, address string) *relay {
	r := &relay{listener: l}
	r.running.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			to, err := net.Dial("tcp", address)
			if err != nil {
				_ = from.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, from, to)
			r.mu.Unlock()
			r.running.Go(func() { pass(from, to) })
			r.running.Go(func() { pass(to, from) })
		}
	})
	return r
}

// pass copies until one end is closed, and closes the other.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from) // however it ends
	_ = to.Close()
	_ = from.Close()
}

// close ends the relay and its connections.
func (r *relay) close() {
	r.once.Do(func() {
		_ = r.listener.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
}

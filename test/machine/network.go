package machine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Listen listens on an address of the machine, whose network is its own: a server of the test can be reached from inside so. The
// machine must be on. Nobody connects any more once it is off.
func (m *Machine) Listen(network, address string) (net.Listener, error) {
	pid := m.Leader()
	if pid == 0 {
		return nil, errors.New("cannot listen in a machine that is off")
	}
	type result struct {
		listener net.Listener
		err      error
	}
	got := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is in the wrong network then, ends with this goroutine
		l, err := listenIn(fmt.Sprintf("/proc/%d/ns/net", pid), network, address)
		got <- result{l, err}
	}()
	r := <-got
	if r.err != nil {
		return nil, fmt.Errorf("cannot listen in a machine: %w", r.err)
	}
	return r.listener, nil
}

func listenIn(namespace, network, address string) (net.Listener, error) {
	ns, err := os.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("setns: %w", err)
	}
	return net.Listen(network, address)
}

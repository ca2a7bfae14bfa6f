package operation

import (
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// progressPause is the shortest time between two commits that tell of progress.
const progressPause = 100 * time.Millisecond

// A meter tells observers how far a step is: at once, then at most ten times a second, and in any case where it stands when
// nothing comes any more, as in a transfer that hangs.
type meter struct {
	mu      sync.Mutex
	told    time.Time
	pending *model.Job // to be told when the timer fires
	timer   *time.Timer
}

// progress takes over how far the present step is. The goroutine that runs the operation calls it.
func (e *Engine) progress(o *op, done, total int64) {
	o.bytesDone, o.bytesTotal = done, total
	if total > 0 {
		o.fraction = min(float64(done)/float64(total), 1)
	}
	m, id := &o.meter, o.rec.ID
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = e.job(o)
	if wait := progressPause - time.Since(m.told); wait > 0 && !(total > 0 && done == total) {
		if m.timer == nil {
			m.timer = time.AfterFunc(wait, func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				e.tellPending(id, m)
			})
		}
		return
	}
	e.tellPending(id, m)
}

// tellPending commits what is pending. The caller holds mu: so nothing is told any more once the meter has been stopped.
func (e *Engine) tellPending(id uint32, m *meter) {
	j := m.pending
	m.clear()
	if j == nil {
		return
	}
	m.told = time.Now()
	err := e.inv.Update(func(tx *inventory.Tx) error {
		show(tx, j)
		return nil
	})
	if err != nil {
		e.opts.Log.Error("progress could not be told", "op", id, "err", err)
	}
}

// stop forgets what is pending: the step has ended, and its end is told otherwise.
func (m *meter) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
}

func (m *meter) clear() {
	if m.timer != nil {
		m.timer.Stop()
	}
	m.timer, m.pending = nil, nil
}

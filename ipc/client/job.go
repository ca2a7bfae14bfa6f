package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Job reads a job.
func (c *Client) Job(ctx context.Context, path dbus.ObjectPath) (*Job, error) {
	j, _, err := c.readJob(ctx, path)
	return j, err
}

// Cancel asks for the end of a job. A job that has ended, or is past the point of no return, refuses with InvalidDUState.
func (c *Client) Cancel(ctx context.Context, job dbus.ObjectPath) error {
	_, err := c.call(ctx, "cannot cancel "+nameOf(job), job, KindJob.iface()+".Cancel", []any{options{}})
	return err
}

// WaitJob returns a job once it has ended, well or badly: see [Job.Err]. progress, when not nil, is called with what the job
// is at first and after every change, the last one included; it runs in the caller's goroutine. A restart of the agent in
// between is survived, if the agent is back within a minute and still knows the job. When ctx ends first its error is returned;
// the job goes on.
func (c *Client) WaitJob(ctx context.Context, path dbus.ObjectPath, progress func(*Job)) (*Job, error) {
	if k, _ := splitPath(path); k != KindJob {
		return nil, fmt.Errorf("cannot wait for %s: it is no job", path)
	}
	s, err := c.subscribe(ctx, path)
	if err != nil {
		return nil, err
	}
	defer s.close()
	w := jobWaiter{c: c, s: s, path: path, progress: progress}
	if err := w.read(ctx); err != nil {
		return nil, err
	}
	for !w.job.Final() {
		if err := w.step(ctx); err != nil {
			return nil, err
		}
	}
	return w.job, nil
}

type jobWaiter struct {
	c        *Client
	s        *subscription
	path     dbus.ObjectPath
	progress func(*Job)
	job      *Job
	seq      dbus.Sequence // of the answer that told job
	gone     bool          // the agent was away since
}

// step takes the next signal.
func (w *jobWaiter) step(ctx context.Context) error {
	owner := w.s.owner
	sig, err := w.next(ctx)
	if err != nil {
		return err
	}
	if w.s.owner != owner {
		w.gone = true
		if w.s.owner == "" {
			return nil
		}
		return w.read(ctx)
	}
	if sig.Path != w.path {
		return nil
	}
	if sig.Sequence < w.seq {
		// The agent makes an answer and sends it a moment later: a signal that overtook it may be news all the same.
		return w.read(ctx)
	}
	if sig.Name == KindJob.iface()+".Completed" {
		return w.read(ctx) // all that is to be known of the end, in whatever order the signals come
	}
	iface, props, reread := propertiesChanged(sig)
	if iface != KindJob.iface() {
		return nil
	}
	if reread {
		return w.read(ctx)
	}
	j := w.job.clone().(*Job)
	changed, err := decode(j, props)
	if err != nil {
		return err
	}
	if len(changed) == 0 {
		return nil
	}
	if j.Final() {
		return w.read(ctx) // the fault may come in a signal of its own
	}
	w.tell(j)
	return nil
}

// next waits for a signal; while the agent is away only as long as a restart takes.
func (w *jobWaiter) next(ctx context.Context) (*dbus.Signal, error) {
	if w.s.owner != "" {
		return w.s.next(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, w.c.restartGrace)
	defer cancel()
	sig, err := w.s.next(limited)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("cannot wait for %s: %w: it went away and is not back after %v", nameOf(w.path), ErrUnreachable, w.c.restartGrace.Round(time.Second))
	}
	return sig, err
}

// read asks for the job. That the agent is not there is no error: the signal that it went away is under way.
func (w *jobWaiter) read(ctx context.Context) error {
	j, seq, err := w.c.readJob(ctx, w.path)
	switch {
	case err == nil:
		w.seq = seq
		w.tell(j)
		return nil
	case w.job != nil && errors.Is(err, ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded) && w.c.conn.Connected():
		return nil
	case w.gone && IsName(err, unknownObject):
		return fmt.Errorf("cannot tell how %s ended: the agent was restarted and does not know it any more", nameOf(w.path))
	}
	return err
}

func (w *jobWaiter) tell(j *Job) {
	w.job = j
	if w.progress != nil {
		w.progress(j)
	}
}

func (c *Client) readJob(ctx context.Context, path dbus.ObjectPath) (*Job, dbus.Sequence, error) {
	o, seq, err := c.read(ctx, path)
	if err != nil {
		return nil, 0, err
	}
	j, ok := o.(*Job)
	if !ok {
		return nil, 0, fmt.Errorf("cannot read %s: it is no job", path)
	}
	return j, seq, nil
}

// nameOf is what messages call the object at path.
func nameOf(path dbus.ObjectPath) string {
	if r, ok := newRef(path); ok {
		return r.String()
	}
	return string(path)
}

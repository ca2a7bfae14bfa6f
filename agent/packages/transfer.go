package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
)

// A transfer is one run of [Fetcher.Fetch].
type transfer struct {
	fetcher   *Fetcher
	req       Request
	url       *url.URL
	part      *part
	progress  func(done, total int64)
	resumable bool // what is in the part file may be of use to another run
}

// run fills the part file. On return without an error it is complete.
func (t *transfer) run(ctx context.Context) error {
	switch t.url.Scheme {
	case "file":
		return t.copyFile(ctx)
	case docker:
		return t.pull(ctx)
	}
	st, offset, tail, err := t.earlier()
	if err != nil {
		return err
	}
	idle := startIdle(ctx, t.fetcher.opts.Idle)
	defer idle.stop()
	if offset > 0 {
		done, err := t.resume(idle, st, offset, tail)
		if done || err != nil {
			return err
		}
	}
	if err := t.part.restart(); err != nil {
		return err
	}
	res, err := t.get(idle, 0, "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return t.whole(idle, res)
}

// overlap is how many bytes are asked for again when a transfer goes on. They must be equal to those that are there: servers
// have been seen that answer 206 with the wrong part.
const overlap = 4096

// earlier looks what an earlier run left: the state, where to go on, and the bytes that must come from there. An offset of 0
// means that there is nothing to go on with.
func (t *transfer) earlier() (st partState, offset int64, tail []byte, err error) {
	st, ok, err := t.part.loadState()
	if err != nil || !ok || st.IfRange == "" || st.URL != urlSum(t.req.URL) {
		return st, 0, nil, err
	}
	tail, err = t.part.reread(overlap)
	if err != nil || st.Total >= 0 && t.part.size > st.Total {
		return st, 0, nil, err
	}
	return st, t.part.size - int64(len(tail)), tail, nil
}

func urlSum(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:])
}

// resume asks for the rest. done is false without an error when the transfer has to start over with a new request.
func (t *transfer) resume(idle *idle, st partState, offset int64, tail []byte) (done bool, err error) {
	res, err := t.get(idle, offset, st.IfRange)
	var status *statusError
	switch {
	case errors.As(err, &status) && status.code == http.StatusRequestedRangeNotSatisfiable:
		return false, nil
	case err != nil:
		// As long as nobody has said that the file is another one, what there is of it is worth keeping.
		t.resumable = idle.ended() != nil || fault.ReasonOf(err) == fault.TransferServerUnreachable
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK { // another file, or a server without ranges
		if err := t.part.restart(); err != nil {
			return false, err
		}
		return true, t.whole(idle, res)
	}
	total, ok := continues(res, st, offset)
	if !ok {
		return false, nil
	}
	again := make([]byte, len(tail))
	if _, err := io.ReadFull(idle.reader(res.Body), again); err != nil {
		t.resumable = true
		return true, t.bodyError(idle, err)
	}
	if string(again) != string(tail) {
		return false, nil
	}
	if err := t.part.expect(total); err != nil {
		return false, err
	}
	t.resumable = true
	t.progress(t.part.size, total)
	return true, t.copyBody(idle, res.Body, total)
}

// whole takes an answer that begins with the first byte. The part file is empty.
func (t *transfer) whole(idle *idle, res *http.Response) error {
	total := res.ContentLength
	if err := t.part.expect(total); err != nil {
		return err
	}
	st := partState{
		Version: stateVersion, URL: urlSum(t.req.URL), Boot: bootID(), Total: total,
		ETag: res.Header.Get("ETag"), LastModified: res.Header.Get("Last-Modified"), IfRange: validator(res.Header),
	}
	if err := t.part.saveState(st); err != nil {
		return err
	}
	t.resumable = true
	t.progress(0, total)
	return t.copyBody(idle, res.Body, total)
}

// copyBody appends the body to the part file, which must then have total bytes unless that is -1.
func (t *transfer) copyBody(idle *idle, body io.Reader, total int64) error {
	from := idle.reader(body)
	buf := make([]byte, 32<<10)
	for {
		n, readErr := from.Read(buf)
		if total >= 0 && t.part.size+int64(n) > total {
			t.resumable = false
			return fault.Errorf(fault.TransferIncomplete, "the server sent more than the %s it announced", sizeText(total))
		}
		if n > 0 {
			if _, err := t.part.Write(buf[:n]); err != nil {
				t.resumable = false
				return err
			}
			t.progress(t.part.size, total)
		}
		switch {
		case errors.Is(readErr, io.EOF) && (total < 0 || t.part.size == total):
			return nil
		case errors.Is(readErr, io.EOF):
			return t.bodyError(idle, io.ErrUnexpectedEOF)
		case readErr != nil:
			return t.bodyError(idle, readErr)
		}
	}
}

// bodyError says why a body ended early.
func (t *transfer) bodyError(idle *idle, err error) error {
	switch ended := idle.ended(); {
	case errors.Is(ended, errIdle):
		return fault.Errorf(fault.TransferIncomplete, "nothing came for %s after %s: %w", t.fetcher.opts.Idle, sizeText(t.part.size), errIdle)
	case ended == nil:
		return fault.Errorf(fault.TransferIncomplete, "the transfer broke off after %s: %w", sizeText(t.part.size), err)
	default:
		return ended
	}
}

// copyFile fills the part file from a file of the device.
func (t *transfer) copyFile(ctx context.Context) error {
	if err := t.part.restart(); err != nil {
		return err
	}
	// Opening a device can have effects and opening a fifo blocks: what is no file is not opened, and if it changes right
	// then, O_NONBLOCK keeps the open from waiting.
	if info, err := os.Stat(t.url.Path); err != nil {
		return fault.As(fault.TransferFileUnavailable, pathless(err))
	} else if !info.Mode().IsRegular() {
		return fault.Errorf(fault.TransferFileUnavailable, "it is no regular file")
	}
	file, err := os.OpenFile(t.url.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fault.As(fault.TransferFileUnavailable, pathless(err))
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fault.As(fault.TransferFileUnavailable, pathless(err))
	}
	if !info.Mode().IsRegular() {
		return fault.Errorf(fault.TransferFileUnavailable, "it is no regular file")
	}
	total := info.Size()
	if err := t.part.expect(total); err != nil {
		return err
	}
	t.progress(0, total)
	buf := make([]byte, 128<<10)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, readErr := file.Read(buf)
		if n > 0 {
			if _, err := t.part.Write(buf[:n]); err != nil {
				return err
			}
			t.progress(t.part.size, total)
		}
		switch {
		case errors.Is(readErr, io.EOF) && t.part.size == total:
			return nil
		case errors.Is(readErr, io.EOF):
			return fault.Errorf(fault.TransferIncomplete, "the file changed while it was read")
		case readErr != nil:
			return fault.As(fault.TransferIncomplete, pathless(readErr))
		}
	}
}

// pathless takes the path from an error of the file system, because the message around it names it.
func pathless(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

var errIdle = errors.New("the idle time is over")

// An idle is a context that ends with its parent, or when nothing came for a while.
type idle struct {
	context.Context
	parent context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func startIdle(parent context.Context, limit time.Duration) *idle {
	i := &idle{parent: parent, limit: limit}
	i.Context, i.cancel = context.WithCancelCause(parent)
	i.timer = time.AfterFunc(limit, func() { i.cancel(errIdle) })
	return i
}

func (i *idle) stop() {
	i.timer.Stop()
	i.cancel(nil)
}

// alive starts the time anew.
func (i *idle) alive() {
	if i.timer.Stop() { // a timer that fired stays fired
		i.timer.Reset(i.limit)
	}
}

// ended returns why the context ended: errIdle, the cause of the parent, or nil when it did not.
func (i *idle) ended() error {
	switch {
	case i.parent.Err() != nil:
		return fmt.Errorf("given up: %w", context.Cause(i.parent))
	case i.Err() != nil:
		return errIdle
	}
	return nil
}

// reader is r with a sign of life for each piece. An end that comes when the context has ended is none: the server finishes its answer in good
// order when it is told that nobody wants the rest.
func (i *idle) reader(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if n > 0 {
			i.alive()
		}
		if errors.Is(err, io.EOF) && i.Err() != nil {
			err = context.Cause(i)
		}
		return n, err
	})
}

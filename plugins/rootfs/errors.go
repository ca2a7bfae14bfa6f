package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// full are the errors of a system that has no room left for what was asked.
var full = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE}

// impossible are the errors that a file system has for entries that contradict each other or itself.
var impossible = []error{
	syscall.ENAMETOOLONG, syscall.ELOOP, syscall.ENOTDIR, syscall.EISDIR, syscall.EEXIST, syscall.ENOTEMPTY, syscall.ENOENT,
	syscall.EMLINK, syscall.EINVAL, syscall.ERANGE, syscall.E2BIG,
}

// A sourceError is an error of the reader that the archive came from, and no fault of the archive.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// classify gives an error its reason, once.
func classify(err error) error {
	var known *adapter.Error
	if errors.As(err, &known) {
		return known
	}
	is := func(target error) bool { return errors.Is(err, target) }
	var source *sourceError
	var errno syscall.Errno
	var link *os.LinkError
	reason := adapter.Corrupt
	switch {
	case is(context.Canceled), is(context.DeadlineExceeded):
		reason = adapter.Canceled
	case slices.ContainsFunc(full, is):
		reason = adapter.NoResources
	case errors.As(err, &link) && is(syscall.EPERM): // a hard link to a directory
	case errors.As(err, &source):
		reason = adapter.Internal
	case is(syscall.ENOTSUP):
		reason = adapter.NotSupported
	case errors.As(err, &errno) && !slices.ContainsFunc(impossible, is):
		reason = adapter.Internal
	}
	return adapter.Errorf(reason, "cannot unpack the archive: %v", err)
}

// corrupt is a finding of the sieve.
func corrupt(format string, args ...any) error {
	return adapter.Errorf(adapter.Corrupt, "cannot unpack the archive: %s", fmt.Sprintf(format, args...))
}

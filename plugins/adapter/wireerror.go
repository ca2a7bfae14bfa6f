package adapter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/smmd-project/smmd/plugins/adapter/adapterpb"
)

// ErrLost is in the chain of the error of a [Client] whose connection broke before the answer came: nobody knows how far the call
// got. Its reason is [Unavailable]. A mutation is repeated with the same [OpID] on another process.
var ErrLost = errors.New("the connection to the adapter is lost")

// codeOf gives the status code that goes with a reason. It serves people with generic gRPC tools; the agent reads the detail.
// Unavailable is deliberately not UNAVAILABLE, which is gRPC's own word for a broken connection.
var codeOf = map[Reason]codes.Code{
	Mismatch:          codes.InvalidArgument,
	Corrupt:           codes.DataLoss,
	Unresolved:        codes.FailedPrecondition,
	NoResources:       codes.ResourceExhausted,
	NotFound:          codes.NotFound,
	Exists:            codes.AlreadyExists,
	BadState:          codes.FailedPrecondition,
	StartFailed:       codes.Aborted,
	AutoStartFailed:   codes.Aborted,
	StopFailed:        codes.Aborted,
	Unstartable:       codes.FailedPrecondition,
	FailedWhileActive: codes.Aborted,
	Dependency:        codes.FailedPrecondition,
	Unavailable:       codes.FailedPrecondition,
	StillRunning:      codes.Aborted,
	NotSupported:      codes.Unimplemented,
	InvalidArgument:   codes.InvalidArgument,
	Canceled:          codes.Canceled,
	Internal:          codes.Internal,
	InUse:             codes.FailedPrecondition,
}

// reasonOf translates a status without detail: adapters in other languages may leave it out.
var reasonOf = map[codes.Code]Reason{
	codes.InvalidArgument:    InvalidArgument,
	codes.NotFound:           NotFound,
	codes.AlreadyExists:      Exists,
	codes.FailedPrecondition: BadState,
	codes.ResourceExhausted:  NoResources,
	codes.Unimplemented:      NotSupported,
	codes.DeadlineExceeded:   Canceled,
}

// toStatus makes a gRPC status of the error of an adapter, on the adapter's side.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	detail := &adapterpb.Error{Reason: string(ReasonOf(err)), Message: clean(err.Error())}
	var e *Error
	if errors.As(err, &e) {
		detail.Cause = clean(e.Cause)
	}
	code, known := codeOf[Reason(detail.Reason)]
	if !known {
		code = codes.Unknown
	}
	if errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	st, derr := status.New(code, detail.Message).WithDetails(detail)
	if derr != nil {
		// Only a detail that cannot be marshaled comes here, and clean has seen to that.
		return status.Error(code, detail.Message)
	}
	return st.Err()
}

// fromStatus is the inverse of toStatus, on the agent's side. ctx is that of the call, method names it.
func fromStatus(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	for _, d := range st.Details() {
		e, ok := d.(*adapterpb.Error)
		if !ok || Reason(e.GetReason()) == Canceled {
			continue
		}
		return &Error{Reason: Reason(e.GetReason()), Message: e.GetMessage(), Cause: e.GetCause()}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("cannot wait for %s of the adapter: %w", method, ctx.Err())
	}
	if len(st.Details()) > 0 {
		// The adapter gave up by itself, or its copy of the deadline came first.
		gaveUp := context.Canceled
		if st.Code() == codes.DeadlineExceeded {
			gaveUp = context.DeadlineExceeded
		}
		return fmt.Errorf("%w (%w)", &Error{Reason: Canceled, Message: st.Message()}, gaveUp)
	}
	switch st.Code() {
	case codes.Unavailable, codes.Canceled:
		return fmt.Errorf("%w: %w", ErrLost, &Error{Reason: Unavailable, Message: st.Message()})
	case codes.DeadlineExceeded:
		return fmt.Errorf("cannot wait for %s of the adapter: %w", method, context.DeadlineExceeded)
	}
	reason, known := reasonOf[st.Code()]
	if !known {
		reason = Internal
	}
	return &Error{Reason: reason, Message: st.Message()}
}

// clean makes s fit for a protobuf string, which must be UTF-8: what an environment writes need not be.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

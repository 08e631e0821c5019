package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrUnavailable is returned when the server, JetStream or the stream gave no
	// answer. A publish that fails with it has stored nothing.
	ErrUnavailable = errors.New("bus unavailable")
	// ErrUnknownOutcome is returned by Publish when the message was sent and no
	// verdict came back: it may be stored. Publish it again under the same id.
	ErrUnknownOutcome = errors.New("outcome of publishing unknown")
	// ErrFull is returned by Publish when the stream has reached its limit.
	// Nothing was stored; it is possible again when messages expire.
	ErrFull = errors.New("stream full")
	// ErrRefused is returned when the server refuses a request for good: trying
	// again without a change gives the same answer.
	ErrRefused = errors.New("refused by the server")
	// ErrNoStream is returned when a stream of the fleet does not exist.
	ErrNoStream = errors.New("no such stream")
	// ErrWeakStream is returned when a stream's configuration does not keep what
	// rescind relies on.
	ErrWeakStream = errors.New("stream too weak")
	// ErrServerTooOld is returned when the server is known to lose data that it
	// has acknowledged.
	ErrServerTooOld = errors.New("nats-server too old")
	// ErrNotFound is returned by Get when the stream does not hold the sequence.
	ErrNotFound = errors.New("no message with this sequence")
)

// Codes of the JetStream API for which nats.go has no name.
const (
	codeAccountResources = 10002 // the account's limits
	codeServerResources  = 10023 // the server's limits
	codeStorageResources = 10047 // the server's disk
	codeStoreFailed      = 10077 // discard new, or a failed write
)

// Retryable tells whether the same publish may succeed later: it was not stored
// yet, or nobody knows. All else is refused for good, or ended by the caller's
// context before anything was sent.
func Retryable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrFull)
}

// publishError decides what a failed publish means. Whatever cannot be told
// apart counts as unknown, because that makes the publisher ask again.
func publishError(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return fmt.Errorf("%w: %w", apiOutcome(api), err)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrHeadersNotSupported):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}

func apiOutcome(e *jetstream.APIError) error {
	switch {
	case e.ErrorCode == codeStoreFailed && strings.Contains(e.Description, "maximum"):
		return ErrFull
	case e.ErrorCode == codeStoreFailed:
		// The write failed somewhere between memory and disk.
		return ErrUnknownOutcome
	case e.ErrorCode == codeAccountResources, e.ErrorCode == codeServerResources,
		e.ErrorCode == codeStorageResources:
		return ErrFull
	case e.Code >= 500:
		return ErrUnavailable
	default:
		return ErrRefused
	}
}

// requestError decides what a failed request that only reads or configures
// means. The caller's own context keeps its error.
func requestError(ctx context.Context, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return ErrNoStream
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	case errors.As(err, &api) && api.Code < 500:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

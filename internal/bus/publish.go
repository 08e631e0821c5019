package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
)

// Ack is a stream's word that a message is stored.
type Ack struct {
	Seq uint64
	// Duplicate says that the stream had taken this id within its dedupe window
	// and stored nothing now; Seq is the earlier message's. The server compares
	// ids, not bodies, and the message may have been lost since: read it back.
	Duplicate bool
}

// Publish stores data as one message of a stream and returns when the stream has
// acknowledged it. Receipts and refusals go to the audit stream under
// events.Audit. An empty id publishes past the dedupe window.
//
// The errors are ErrUnavailable, ErrUnknownOutcome, ErrFull and ErrRefused, or
// the context's error when it ended before anything was sent. A missing
// permission shows as ErrUnknownOutcome, since the server does not answer. Many
// publishes may be in flight at once; their order is not kept.
func (b *Bus) Publish(ctx context.Context, s events.Stream, id string, data []byte) (Ack, error) {
	if err := ctx.Err(); err != nil {
		return Ack{}, context.Cause(ctx)
	}
	if !b.nc.IsConnected() {
		// The client would buffer it and send it at an unknown time.
		return Ack{}, fmt.Errorf("publishing to %s: %w: not connected", s, ErrUnavailable)
	}
	// The expected stream guards against a foreign stream that took the subject.
	opts := []jetstream.PublishOpt{
		jetstream.WithExpectStream(b.fleet.StreamName(s)),
		jetstream.WithRetryAttempts(0),
	}
	if id != "" {
		opts = append(opts, jetstream.WithMsgID(id))
	}
	ack, err := b.js.Publish(ctx, b.publishSubject(s, data), data, opts...)
	if err != nil {
		return Ack{}, fmt.Errorf("publishing to %s: %w", s, publishError(err))
	}
	if ack.Stream != b.fleet.StreamName(s) || ack.Sequence == 0 {
		return Ack{}, fmt.Errorf("publishing to %s: %w: %w", s, ErrUnknownOutcome,
			errors.New("acknowledged by another stream"))
	}
	return Ack{ack.Sequence, ack.Duplicate}, nil
}

func (b *Bus) publishSubject(s events.Stream, data []byte) string {
	switch {
	case s != events.Audit:
		return b.fleet.EventSubject(s)
	case events.IsRefusal(data):
		return b.fleet.AuditSubject("refusal")
	}
	return b.fleet.AuditSubject("receipt")
}

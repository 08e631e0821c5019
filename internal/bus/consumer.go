package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
)

// ackWait is how long an auditor may work on a message before it is delivered
// again.
const ackWait = 30 * time.Second

// AuditConsumer is a durable reader of the audit stream. The server keeps its
// place; programs that use the same name share the messages between them.
type AuditConsumer struct {
	nc       *nats.Conn
	consumer jetstream.Consumer
}

// AuditMessage is one message of the audit stream.
type AuditMessage struct {
	Seq     uint64
	Subject string
	Time    time.Time
	Data    []byte
	// Ack tells the server that the message is dealt with and returns once the
	// server knows. Without it the message comes again after 30 s. The server
	// writes its consumers' places to disk a little later, so after a crash
	// messages may come again in spite of it. Its error is ErrUnavailable.
	Ack func(context.Context) error
}

// AuditConsumer makes the durable consumer, or takes it up where it was left. It
// starts at the stream's first message. The errors are ErrNoStream,
// ErrUnavailable, and ErrRefused for a name that cannot be one.
func (b *Bus) AuditConsumer(ctx context.Context, durable string) (*AuditConsumer, error) {
	c, err := b.js.CreateOrUpdateConsumer(ctx, b.fleet.StreamName(events.Audit), jetstream.ConsumerConfig{
		Durable: durable, Description: "rescind audit",
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxBatch,
	})
	if errors.Is(err, jetstream.ErrInvalidConsumerName) || durable == "" {
		return nil, fmt.Errorf("audit consumer %q: %w: not a consumer name", durable, ErrRefused)
	}
	if err != nil {
		return nil, fmt.Errorf("audit consumer %q: %w", durable, requestError(ctx, err))
	}
	return &AuditConsumer{b.nc, c}, nil
}

// Fetch gives up to max messages that are there. When there is none it waits for
// one until ctx ends, and then returns the context's error. Messages come at
// least once, in stream order unless some are delivered again. The other error is
// ErrUnavailable; nothing is lost by fetching again.
func (a *AuditConsumer) Fetch(ctx context.Context, max int) ([]AuditMessage, error) {
	msgs, err := fetch(ctx, a.nc, a.consumer, max)
	if err != nil {
		return nil, fmt.Errorf("fetching audit messages: %w", err)
	}
	out := make([]AuditMessage, len(msgs))
	for i, m := range msgs {
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("fetching audit messages: %w: %w", ErrUnavailable, err)
		}
		out[i] = AuditMessage{Seq: meta.Sequence.Stream, Subject: m.Subject(), Time: meta.Timestamp, Data: m.Data(), Ack: acknowledge(m)}
	}
	return out, nil
}

// fetch takes up to max messages that are there, or waits for one until ctx ends.
func fetch(ctx context.Context, nc *nats.Conn, c jetstream.Consumer, max int) ([]jetstream.Msg, error) {
	for {
		if err := ended(ctx); err != nil {
			return nil, err
		}
		if !nc.IsConnected() {
			return nil, fmt.Errorf("%w: not connected", ErrUnavailable)
		}
		msgs, err := drain(c.FetchNoWait(max))
		if len(msgs) == 0 && err == nil {
			msgs, err = drain(c.Fetch(1, jetstream.FetchContext(ctx)))
		}
		if len(msgs) > 0 {
			return msgs, nil
		}
		if err != nil && ended(ctx) == nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// ended is the context's error, also in the moment between its deadline and its
// timer.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Pending is how many messages of the stream have not been acknowledged yet,
// delivered or not.
func (a *AuditConsumer) Pending(ctx context.Context) (uint64, error) {
	info, err := a.consumer.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking for the audit consumer: %w", requestError(ctx, err))
	}
	return info.NumPending + uint64(info.NumAckPending), nil
}

// drain takes all messages of a fetch. Those that came before an error count: the
// error shows again at the next fetch.
func drain(batch jetstream.MessageBatch, err error) ([]jetstream.Msg, error) {
	if err != nil {
		return nil, err
	}
	var msgs []jetstream.Msg
	for m := range batch.Messages() {
		msgs = append(msgs, m)
	}
	return msgs, batch.Error()
}

func acknowledge(m jetstream.Msg) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := m.DoubleAck(ctx); err != nil {
			return fmt.Errorf("acknowledging audit message: %w", requestError(ctx, err))
		}
		return nil
	}
}

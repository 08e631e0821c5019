package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
)

const (
	// maxBatch bounds the replies that the server sends without flow control.
	maxBatch          = 10_000
	defaultBatch      = 1_000
	defaultBatchBytes = 1 << 20
	// readSilence is how long a read waits for the next reply: long enough for
	// the largest event on a slow link.
	readSilence = 5 * time.Second
)

// Read gives up to max messages from the first sequence at or after from, and
// stops once they add up to maxBytes; one comes in any case. A max or maxBytes of
// 0 means 1,000 and 1 MiB; max is capped at 10,000. Messages that the stream no
// longer has are passed over. From 0 reads from the beginning.
//
// When replies are lost, or none comes for 5 seconds, the batch is Broken and
// holds what came before; the error is then ErrUnavailable if that is nothing.
// Other errors are the context's and ErrRefused.
func (b *Bus) Read(ctx context.Context, s events.Stream, from uint64, max, maxBytes int) (Batch, error) {
	return b.ReadEach(ctx, s, from, max, maxBytes, func(Message) {})
}

// ReadEach is Read, and calls each with every message of the batch, in order, as
// soon as it is sure. What each was given counts only when ReadEach gives no
// error. It is called from the caller's goroutine, and the batch waits for it.
func (b *Bus) ReadEach(ctx context.Context, s events.Stream, from uint64, max, maxBytes int, each func(Message)) (Batch, error) {
	max, maxBytes = batchLimits(max, maxBytes)
	batch, err := b.read(ctx, s, from, max, maxBytes, each)
	if err == nil && batch.Broken && len(batch.Messages) == 0 && max > 1 {
		// The first message may be one whose headers hide its sequence. Alone it
		// can be read.
		batch, err = b.read(ctx, s, from, 1, maxBytes, each)
	}
	if err == nil && batch.Broken && len(batch.Messages) == 0 {
		err = fmt.Errorf("%w: replies were lost", ErrUnavailable)
	}
	if err != nil {
		return Batch{}, fmt.Errorf("reading %s from %d: %w", s, from, err)
	}
	return batch, nil
}

func batchLimits(count, bytes int) (int, int) {
	if count <= 0 {
		count = defaultBatch
	}
	if bytes <= 0 {
		bytes = defaultBatchBytes
	}
	return min(count, maxBatch), bytes
}

// Get gives the message with exactly this sequence, or ErrNotFound. Other errors
// are those of Read.
func (b *Bus) Get(ctx context.Context, s events.Stream, seq uint64) (Message, error) {
	batch, err := b.Read(ctx, s, seq, 1, 0)
	if err != nil {
		return Message{}, err
	}
	if len(batch.Messages) == 0 || batch.Messages[0].Seq != seq {
		return Message{}, fmt.Errorf("reading %s at %d: %w", s, seq, ErrNotFound)
	}
	return batch.Messages[0], nil
}

// getRequest asks for messages from Seq on (ADR-31). Seq 0 would mean "the last
// message" to the server.
type getRequest struct {
	Seq      uint64 `json:"seq"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
}

func (b *Bus) read(ctx context.Context, s events.Stream, from uint64, count, maxBytes int, each func(Message)) (Batch, error) {
	if !b.nc.IsConnected() {
		return Batch{}, fmt.Errorf("%w: not connected", ErrUnavailable)
	}
	from = max(from, 1)
	name := b.fleet.StreamName(s)
	inbox := b.nc.NewInbox()
	// Room for every reply and the end, so that the client drops none.
	replies := make(chan *nats.Msg, count+2)
	sub, err := b.nc.ChanSubscribe(inbox, replies)
	if err != nil {
		return Batch{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer sub.Unsubscribe() // what still comes is not wanted
	request, err := json.Marshal(getRequest{from, count, maxBytes})
	if err != nil {
		return Batch{}, err
	}
	if err := b.nc.PublishRequest("$JS.API.DIRECT.GET."+name, inbox, request); err != nil {
		return Batch{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c := &chain{from: from, single: count == 1, each: each}
	err = collect(ctx, c, replies, func(m *nats.Msg) reply { return parseReply(name, s, m) })
	return c.batch, err
}

// collect feeds replies to c until it is done, the context ends, or nothing comes
// for readSilence.
func collect(ctx context.Context, c *chain, replies <-chan *nats.Msg, parse func(*nats.Msg) reply) error {
	silence := time.NewTimer(readSilence)
	defer silence.Stop()
	for {
		select {
		case m, ok := <-replies:
			if !ok {
				c.broken()
				return nil
			}
			if done, err := c.add(parse(m)); done {
				return err
			}
			silence.Reset(readSilence)
		case <-silence.C:
			c.broken()
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
}

package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
)

// Identified is a message under its id.
type Identified struct {
	ID   string
	Data []byte
}

// MaxTogether is how many messages PublishTogether takes.
const MaxTogether = 1000

// The headers of a batch that is stored as a whole (ADR-50).
const (
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// togetherTimeout bounds the wait when ctx has no deadline.
const togetherTimeout = 5 * time.Second

// PublishTogether stores messages as one: all of them or none, in their order, with
// one flush of the server's disk, which is what a synced stream's time goes into. It
// costs the server some files that it makes and removes, so it pays from some ten
// messages on. The stream must allow it; those of rules and of receipts do.
//
// It gives the sequence of the last; the others' are those before it. The errors are
// Publish's. After ErrUnknownOutcome all or none may be stored. One
// message whose id the stream knows already makes it ErrRefused: publish each alone
// then, to learn which.
func (b *Bus) PublishTogether(ctx context.Context, s events.Stream, all []Identified) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	if len(all) == 0 || len(all) > MaxTogether {
		return 0, fmt.Errorf("publishing to %s: %w: %d messages, not 1 to %d", s, ErrRefused, len(all), MaxTogether)
	}
	if !b.nc.IsConnected() {
		return 0, fmt.Errorf("publishing to %s: %w: not connected", s, ErrUnavailable)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, togetherTimeout)
		defer cancel()
	}
	batch := nats.NewInbox()[len(nats.InboxPrefix):]
	for i, m := range all[:len(all)-1] {
		if err := b.nc.PublishMsg(b.batched(s, batch, i, m)); err != nil {
			return 0, fmt.Errorf("publishing to %s: %w: %w", s, ErrUnavailable, err) // without its end it is thrown away
		}
	}
	last := b.batched(s, batch, len(all)-1, all[len(all)-1])
	last.Header.Set(headerBatchCommit, "1")
	reply, err := b.nc.RequestMsgWithContext(ctx, last)
	var seq uint64
	if err == nil {
		seq, err = b.checkBatch(s, reply.Data, len(all))
	}
	if err != nil {
		return 0, fmt.Errorf("publishing to %s: %w", s, publishError(err))
	}
	return seq, nil
}

func (b *Bus) batched(s events.Stream, batch string, i int, m Identified) *nats.Msg {
	msg := nats.NewMsg(b.publishSubject(s, m.Data))
	msg.Data = m.Data
	msg.Header.Set(headerBatch, batch)
	msg.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
	msg.Header.Set(jetstream.ExpectedStreamHeader, b.fleet.StreamName(s))
	msg.Header.Set(jetstream.MsgIDHeader, m.ID)
	return msg
}

// checkBatch reads the acknowledgement of a batch.
func (b *Bus) checkBatch(s events.Stream, data []byte, n int) (uint64, error) {
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Count  int                 `json:"count"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Stream != b.fleet.StreamName(s) || ack.Seq < uint64(n) || ack.Count != n {
		return 0, fmt.Errorf("acknowledged %d messages of stream %q, not %d", ack.Count, ack.Stream, n)
	}
	return ack.Seq, nil
}

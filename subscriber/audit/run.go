package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind/internal/bus"
)

// Run writes the audit stream to f until ctx ends, and then returns nil. It waits
// out whatever the network and the key source do; it returns an error for what
// trying again would not mend: f cannot be written (every error of f ends its
// use), or the server refuses the consumer.
func (r *Reader) Run(ctx context.Context, f *File) error {
	r.sayTorn(f)
	wait := firstWait
	for {
		err := r.follow(ctx, f, func() { wait = firstWait })
		switch {
		case f.failed() != nil:
			return f.failed()
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, bus.ErrRefused):
			return fmt.Errorf("following the audit stream: %w", err)
		}
		r.log.Warn("following the audit stream; trying again", "in", wait, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, longestWait)
	}
}

// CatchUp writes to f what the audit stream holds at this moment and returns. It
// touches no consumer. The error is the first that occurs; what was written by
// then is complete up to some place, and CatchUp goes on from there.
func (r *Reader) CatchUp(ctx context.Context, f *File) error {
	r.sayTorn(f)
	if err := r.catchUp(ctx, &f.cur, f.append); err != nil {
		return fmt.Errorf("reading the audit stream: %w", err)
	}
	return nil
}

func (r *Reader) sayTorn(f *File) {
	if f.torn > 0 {
		r.log.Warn("cut off what a crash had left unfinished", "file", f.path, "bytes", f.torn)
	}
}

// follow writes until an error. The file is the place where reading goes on, not
// the consumer: after a crash the server delivers new messages at once and those
// that were not acknowledged only when half a minute has passed, and an
// acknowledged message may be missing from a file that was put back from a copy.
// The consumer tells when there is something new, and shows operators how far
// this reader is.
func (r *Reader) follow(ctx context.Context, f *File, progress func()) error {
	consumer, err := r.bus.AuditConsumer(ctx, r.durable)
	if err != nil {
		return err
	}
	if err := r.catchUp(ctx, &f.cur, f.append); err != nil {
		return err
	}
	for {
		msgs, err := consumer.Fetch(ctx, min(r.batch, fetchMessages))
		if err != nil {
			return err
		}
		progress()
		if err := r.take(ctx, f, msgs); err != nil {
			return err
		}
		r.written()
		r.acknowledge(ctx, msgs)
	}
}

// take writes what of a delivery is not in the file yet, in the stream's order.
func (r *Reader) take(ctx context.Context, f *File, delivered []bus.AuditMessage) error {
	msgs := f.cur.open(delivered)
	if !contiguous(f.cur.pos, msgs) {
		// Something was delivered elsewhere, or comes later: read it.
		if err := r.catchUp(ctx, &f.cur, f.append); err != nil {
			return err
		}
		if msgs = f.cur.open(delivered); !contiguous(f.cur.pos, msgs) {
			return errors.New("the stream changed while it was read")
		}
	}
	return r.record(ctx, &f.cur, msgs, f.append)
}

// open gives those of a delivery that were not taken yet, in the stream's order.
func (c *cursor) open(delivered []bus.AuditMessage) (msgs []message) {
	for _, d := range delivered {
		m := newMessage(bus.Message{Seq: d.Seq, Time: d.Time, Data: d.Data})
		if _, ok := c.seen[m.digest]; !ok || d.Seq > c.pos {
			msgs = append(msgs, m)
		}
	}
	slices.SortFunc(msgs, func(a, b message) int { return cmp.Compare(a.Seq, b.Seq) })
	return msgs
}

func contiguous(pos uint64, msgs []message) bool {
	for i, m := range msgs {
		if m.Seq != pos+1+uint64(i) {
			return false
		}
	}
	return true
}

// acknowledge tells the server that messages are in the file. One that is not
// told comes again and is known.
func (r *Reader) acknowledge(ctx context.Context, msgs []bus.AuditMessage) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, ackAtOnce)
	for _, m := range msgs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := m.Ack(ctx); err != nil && ctx.Err() == nil {
				r.log.Debug("acknowledging", "seq", m.Seq, "err", err)
			}
		})
	}
	wg.Wait()
}

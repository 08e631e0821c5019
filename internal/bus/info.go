package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
)

// Info is a stream's state as its leader tells it.
type Info struct {
	// Epoch names one life of the stream.
	Epoch string
	// First and Last are sequences; an empty stream has First = Last + 1.
	First, Last uint64
	// Msgs is how many messages the stream holds.
	Msgs uint64
	// Bytes is what they take, MaxBytes the limit; -1 is none.
	Bytes uint64
	// MaxBytes is reserved on the server's disk.
	MaxBytes int64
}

// Info asks the stream's leader for its state. It goes through the server's one
// queue of API requests: it is for publishers, not for every agent. The errors
// are ErrNoStream, ErrUnavailable, ErrRefused, and ErrWeakStream for a stream
// without an epoch.
func (b *Bus) Info(ctx context.Context, s events.Stream) (Info, error) {
	name := b.fleet.StreamName(s)
	have, err := b.ask(ctx, s)
	if err != nil {
		return Info{}, fmt.Errorf("asking for the state of %s: %w", name, err)
	}
	epoch := have.Config.Metadata[epochKey]
	if epoch == "" {
		return Info{}, fmt.Errorf("%w: %s has no epoch; run: rescind streams apply", ErrWeakStream, name)
	}
	st := have.State
	if st.Msgs == 0 {
		st.FirstSeq = st.LastSeq + 1
	}
	return Info{Epoch: epoch, First: st.FirstSeq, Last: st.LastSeq, Msgs: st.Msgs,
		Bytes: st.Bytes, MaxBytes: have.Config.MaxBytes}, nil
}

func (b *Bus) ask(ctx context.Context, s events.Stream) (*jetstream.StreamInfo, error) {
	if !b.nc.IsConnected() {
		return nil, fmt.Errorf("%w: not connected", ErrUnavailable)
	}
	stream, err := b.js.Stream(ctx, b.fleet.StreamName(s))
	if err != nil {
		return nil, requestError(ctx, err)
	}
	return stream.CachedInfo(), nil
}

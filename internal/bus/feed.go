package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
)

// metaKey is the entry of a consumer's metadata that holds what is kept with a feed.
const metaKey = "rescind.feed"

// Feed is what one receiver outside of the fleet is sent: the fleet's events from the
// feed's beginning on, and what was published for it alone. It is a durable consumer,
// so the server keeps its place; programs that fetch from it share its messages.
type Feed struct {
	b        *Bus
	id       string
	consumer jetstream.Consumer
	info     *jetstream.ConsumerInfo
}

// FeedOptions are a feed's bounds.
type FeedOptions struct {
	// AckWait is how long a message that was fetched may stay without Ack or Nak
	// before it is fetched again.
	AckWait time.Duration
	// MaxPending is how many messages may be without Ack at a time.
	MaxPending int
}

// FeedMessage is one message of a feed.
type FeedMessage struct {
	Seq uint64
	// Own tells that it was published for this feed alone.
	Own  bool
	Data []byte
	msg  jetstream.Msg
}

// Ack tells the server that the message is dealt with, and does not wait for it to
// know: a message whose Ack was lost comes again.
func (m *FeedMessage) Ack() error { return m.msg.Ack() }

// Nak gives the message back, to be fetched again at once.
func (m *FeedMessage) Nak() error { return m.msg.Nak() }

// Working lets AckWait begin anew.
func (m *FeedMessage) Working() error { return m.msg.InProgress() }

// ApplyFeeds makes the stream of feeds, unless it is there: with as many replicas and
// for as long as the control stream. The errors are those of Apply, and ErrNoStream.
func (b *Bus) ApplyFeeds(ctx context.Context) error {
	if _, err := b.config(ctx, events.Feeds); !errors.Is(err, ErrNoStream) {
		return err
	}
	control, err := b.config(ctx, events.Control)
	if err != nil {
		return err
	}
	want := b.wanted(events.Feeds, Settings{MaxAge: control.MaxAge, Replicas: control.Replicas})
	want.Description = "events of fleet " + string(b.fleet) + " for receivers outside of it"
	want.Subjects, want.MaxAge = []string{b.fleet.FeedSubject("*")}, control.MaxAge
	for _, from := range events.EventStreams {
		// Nobody is to be sent what was before the first feed. A start by time will not
		// do: nats-server 2.15.2 begins with one source at the time of what it has from
		// the other, and so skips what came meanwhile.
		info, err := b.Info(ctx, from)
		if err != nil {
			return err
		}
		want.Sources = append(want.Sources, &jetstream.StreamSource{Name: b.fleet.StreamName(from), OptStartSeq: info.Last + 1})
	}
	stampEpoch(want)
	_, err = b.js.CreateStream(ctx, *want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another program was first
		return nil
	}
	return adviseStorage(requestError(ctx, err))
}

// connected spares a caller the wait for an answer that cannot come.
func (b *Bus) connected() error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("%w: not connected", ErrUnavailable)
	}
	return nil
}

// CreateFeed makes a feed that begins now. meta is kept with it, for every publisher.
// The errors are ErrNoStream, ErrUnavailable and ErrRefused.
func (b *Bus) CreateFeed(ctx context.Context, id, meta string, o FeedOptions) (*Feed, error) {
	c, err := b.js.CreateConsumer(ctx, b.fleet.StreamName(events.Feeds), jetstream.ConsumerConfig{
		Durable: id, Description: "rescind feed", DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: o.AckWait, MaxDeliver: -1, MaxAckPending: o.MaxPending, Metadata: map[string]string{metaKey: meta},
		FilterSubjects: []string{b.fleet.EventSubject(events.Control), b.fleet.EventSubject(events.Tokens), b.fleet.FeedSubject(id)},
	})
	if err != nil {
		return nil, fmt.Errorf("making feed: %w", requestError(ctx, err))
	}
	return b.feed(id, c), nil
}

func (b *Bus) feed(id string, c jetstream.Consumer) *Feed {
	return &Feed{b: b, id: id, consumer: c, info: c.CachedInfo()}
}

// Feed finds a feed. The errors are ErrNotFound and ErrUnavailable.
func (b *Bus) Feed(ctx context.Context, id string) (*Feed, error) {
	if err := b.connected(); err != nil {
		return nil, err
	}
	c, err := b.js.Consumer(ctx, b.fleet.StreamName(events.Feeds), id)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound),
		errors.Is(err, jetstream.ErrInvalidConsumerName):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("finding feed: %w", requestError(ctx, err))
	}
	return b.feed(id, c), nil
}

// FeedInfo is what is kept with a feed, and when the server made it.
type FeedInfo struct {
	Meta    string
	Created time.Time
}

// Feeds gives all feeds by their ids.
func (b *Bus) Feeds(ctx context.Context) (map[string]FeedInfo, error) {
	if err := b.connected(); err != nil {
		return nil, err
	}
	s, err := b.js.Stream(ctx, b.fleet.StreamName(events.Feeds))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing feeds: %w", requestError(ctx, err))
	}
	all := map[string]FeedInfo{}
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		if meta, ok := info.Config.Metadata[metaKey]; ok {
			all[info.Name] = FeedInfo{meta, info.Created}
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("listing feeds: %w", requestError(ctx, err))
	}
	return all, nil
}

// DeleteFeed ends a feed. The errors are ErrNotFound and ErrUnavailable.
func (b *Bus) DeleteFeed(ctx context.Context, id string) error {
	err := b.js.DeleteConsumer(ctx, b.fleet.StreamName(events.Feeds), id)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return ErrNotFound
	}
	return requestError(ctx, err)
}

// PublishFeed stores a message for one feed alone, and returns when it is stored.
func (b *Bus) PublishFeed(ctx context.Context, id string, data []byte) error {
	if err := b.connected(); err != nil {
		return err
	}
	_, err := b.js.Publish(ctx, b.fleet.FeedSubject(id), data, jetstream.WithExpectStream(b.fleet.StreamName(events.Feeds)), jetstream.WithRetryAttempts(0))
	if err != nil {
		return fmt.Errorf("publishing to a feed: %w", publishError(err))
	}
	return nil
}

// ID is the feed's.
func (f *Feed) ID() string { return f.id }

// Meta is what is kept with the feed, as of when it was found.
func (f *Feed) Meta() string { return f.info.Config.Metadata[metaKey] }

// Update changes what is kept with the feed, and how much of it may be without Ack.
// Its place stays. The errors are ErrUnavailable and ErrRefused.
func (f *Feed) Update(ctx context.Context, meta string, o FeedOptions) error {
	c := f.info.Config
	c.Metadata = map[string]string{metaKey: meta}
	c.AckWait, c.MaxAckPending = o.AckWait, o.MaxPending
	updated, err := f.b.js.UpdateConsumer(ctx, f.b.fleet.StreamName(events.Feeds), c)
	if err != nil {
		return fmt.Errorf("updating feed: %w", requestError(ctx, err))
	}
	f.consumer, f.info = updated, updated.CachedInfo()
	return nil
}

// Fetch gives up to max messages that are there; when there is none it waits for one
// until ctx ends, and then returns the context's error. Messages come at least once.
// The other error is ErrUnavailable; nothing is lost by fetching again.
func (f *Feed) Fetch(ctx context.Context, max int) ([]*FeedMessage, error) {
	msgs, err := fetch(ctx, f.b.nc, f.consumer, max)
	if err != nil {
		return nil, fmt.Errorf("fetching from feed: %w", err)
	}
	return f.read(msgs)
}

func (f *Feed) read(msgs []jetstream.Msg) ([]*FeedMessage, error) {
	out := make([]*FeedMessage, 0, len(msgs))
	for _, m := range msgs {
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("fetching from feed: %w: %w", ErrUnavailable, err)
		}
		out = append(out, &FeedMessage{Seq: meta.Sequence.Stream, Own: m.Subject() == f.b.fleet.FeedSubject(f.id),
			Data: m.Data(), msg: m})
	}
	return out, nil
}

// FetchNow gives up to max messages that are there, which may be none. The error is
// ErrUnavailable; nothing is lost by fetching again.
func (f *Feed) FetchNow(max int) ([]*FeedMessage, error) {
	if err := f.b.connected(); err != nil {
		return nil, err
	}
	msgs, err := drain(f.consumer.FetchNoWait(max))
	if err != nil && len(msgs) == 0 {
		return nil, fmt.Errorf("fetching from feed: %w: %w", ErrUnavailable, err)
	}
	return f.read(msgs)
}

// Pending is how many messages wait for a fetch.
func (f *Feed) Pending(ctx context.Context) (uint64, error) {
	info, err := f.consumer.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking for feed: %w", requestError(ctx, err))
	}
	return info.NumPending, nil
}

package transmit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

// Errors of a Transmitter, beside ErrInvalid.
var (
	// ErrNotFound is returned for a stream that is not there.
	ErrNotFound = errors.New("no such stream")
	// ErrExists is returned when the caller has a stream already.
	ErrExists = errors.New("there is a stream already")
	// ErrTooSoon is returned for a verification right after another.
	ErrTooSoon = errors.New("too soon after the last verification")
	// ErrUnavailable is returned when the bus cannot be reached; nothing was done.
	ErrUnavailable = errors.New("streams cannot be reached now")
)

// Config configures a Transmitter. Bus, Keys, Issuer and Key must be set.
type Config struct {
	// Bus is where the fleet's events are. It stays the caller's.
	Bus *bus.Bus
	// Keys are the publishers' keys, by which events are verified before they are
	// passed on.
	Keys func() *events.KeySet
	// Issuer is iss of what is sent: the publisher's public URL.
	Issuer string
	// Key signs what is sent.
	Key *Key
	// AckWait is how long a receiver may take to acknowledge what it polled before it
	// is sent again. Zero means 30 s.
	AckWait time.Duration
	// AllowedPrefixes are special addresses that pushes may go to all the same, and by
	// plain HTTP: there are none by default, so that no receiver can make the
	// publisher call what stands behind its firewall.
	AllowedPrefixes []netip.Prefix
	// Logger receives what is worth a person's attention; nil means none.
	Logger *slog.Logger
	// Registry takes the metrics; nil means none.
	Registry prometheus.Registerer
}

func (c Config) validate() error {
	switch {
	case c.Bus == nil:
		return errors.New("config: Bus is nil")
	case c.Keys == nil:
		return errors.New("config: Keys is nil")
	case c.Issuer == "":
		return errors.New("config: Issuer is empty")
	case c.Key == nil:
		return errors.New("config: Key is nil")
	case c.AckWait < 0:
		return errors.New("config: AckWait is negative")
	}
	return nil
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("component", "transmit")
}

// The bounds of what is without acknowledgement at a time. A push goes out after the
// one before it was answered, whichever publisher sends it, so their order is kept.
const (
	pollPending = 1000
	pushPending = 1
)

func (c Config) options(method string) bus.FeedOptions {
	o := bus.FeedOptions{AckWait: c.AckWait, MaxPending: pollPending}
	if o.AckWait == 0 {
		o.AckWait = 30 * time.Second
	}
	if method == Push {
		// Longer than a push can take: it is not sent twice because it is slow.
		o.AckWait, o.MaxPending = 2*pushTimeout, pushPending
	}
	return o
}

// Transmitter sends the fleet's events to receivers outside of it (SSF 1.0). It is
// safe for concurrent use.
type Transmitter struct {
	cfg    Config
	log    *slog.Logger
	sent   *prometheus.CounterVec
	client *http.Client
	// kick wakes Run when streams have changed here.
	kick chan struct{}

	mu sync.Mutex
	// polled are the messages that a receiver was given and has not acknowledged, by
	// stream and jti; verified is when a verification was last asked for.
	polled   map[string]map[string]*bus.FeedMessage
	verified map[string]time.Time
}

// New makes a Transmitter. It refuses a configuration that lacks a part.
func New(c Config) (*Transmitter, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	t := &Transmitter{cfg: c, log: c.logger(), kick: make(chan struct{}, 1), polled: map[string]map[string]*bus.FeedMessage{},
		verified: map[string]time.Time{}, sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_transmitted_events_total",
			Help: "Security events to receivers, by delivery and outcome: delivered, refused, failed."}, []string{"delivery", "outcome"})}
	t.client = t.newClient()
	if c.Registry != nil {
		if err := c.Registry.Register(t.sent); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return t, nil
}

// Key is what signs what is sent.
func (t *Transmitter) Key() *Key { return t.cfg.Key }

// Streams are all streams of the fleet. The error is ErrUnavailable.
func (t *Transmitter) Streams(ctx context.Context) ([]*Stream, error) {
	all, err := t.cfg.Bus.Feeds(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	var out []*Stream
	for id, info := range all {
		s, err := t.read(id, info.Meta)
		if err != nil {
			t.log.Error("a stream cannot be read", "err", err)
			continue
		}
		s.made = info.Created
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Stream) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func unavailable(err error) error {
	if errors.Is(err, bus.ErrNotFound) {
		return ErrNotFound
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Stream finds a stream. The errors are ErrNotFound and ErrUnavailable.
func (t *Transmitter) Stream(ctx context.Context, id string) (*Stream, error) {
	f, s, err := t.find(ctx, id)
	if err == nil {
		s.feed = f
	}
	return s, err
}

func (t *Transmitter) find(ctx context.Context, id string) (*bus.Feed, *Stream, error) {
	f, err := t.cfg.Bus.Feed(ctx, id)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	s, err := t.read(id, f.Meta())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return f, s, nil
}

// Create makes a stream that begins now, and gives it its id. An owner has one. The
// errors are ErrInvalid, ErrExists and ErrUnavailable.
func (t *Transmitter) Create(ctx context.Context, s *Stream) error {
	s.ID = newID()
	if err := t.check(ctx, s); err != nil {
		return err
	}
	all, err := t.Streams(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(other *Stream) bool { return other.Owner == s.Owner }) {
		return ErrExists
	}
	if err := t.cfg.Bus.ApplyFeeds(ctx); err != nil {
		return unavailable(err)
	}
	if err := t.make(ctx, s); err != nil {
		return err
	}
	first, err := t.isFirst(ctx, s)
	if !first {
		err = errors.Join(err, t.Delete(ctx, s.ID))
	}
	switch {
	case err != nil:
		return err
	case !first:
		return ErrExists
	}
	return nil
}

// isFirst tells whether a stream that was just made is its owner's first one: two that
// are made at the same time do not see each other before.
func (t *Transmitter) isFirst(ctx context.Context, s *Stream) (bool, error) {
	all, err := t.Streams(ctx)
	if err != nil {
		return false, err
	}
	own := slices.DeleteFunc(all, func(other *Stream) bool { return other.Owner != s.Owner })
	if len(own) == 0 {
		return false, ErrNotFound // somebody has deleted it meanwhile
	}
	first := slices.MinFunc(own, func(a, b *Stream) int {
		return cmp.Or(a.made.Compare(b.made), strings.Compare(a.ID, b.ID))
	})
	return first.ID == s.ID, nil
}

func (t *Transmitter) make(ctx context.Context, s *Stream) error {
	meta, err := t.keep(s)
	if err != nil {
		return err
	}
	if _, err := t.cfg.Bus.CreateFeed(ctx, s.ID, meta, t.cfg.options(s.Method)); err != nil {
		return unavailable(err)
	}
	t.changed(s.ID)
	t.log.Info("stream made", "stream", s.ID, "owner", s.Owner, "method", s.Method, "status", s.Status)
	return nil
}

// Update changes a stream that was found: everything but its id, owner and audience.
// The errors are ErrInvalid, ErrNotFound and ErrUnavailable.
func (t *Transmitter) Update(ctx context.Context, s *Stream) error {
	if err := t.check(ctx, s); err != nil {
		return err
	}
	f, before, err := t.find(ctx, s.ID)
	if err != nil {
		return err
	}
	if before.Status == Disabled && s.Status != Disabled {
		// What came while it was disabled is not for it: it begins anew.
		if err := t.cfg.Bus.DeleteFeed(ctx, s.ID); err != nil {
			return unavailable(err)
		}
		return t.make(ctx, s)
	}
	meta, err := t.keep(s)
	if err != nil {
		return err
	}
	if err := f.Update(ctx, meta, t.cfg.options(s.Method)); err != nil {
		return unavailable(err)
	}
	t.changed(s.ID)
	t.log.Info("stream changed", "stream", s.ID, "owner", s.Owner, "method", s.Method, "status", s.Status)
	return nil
}

func (t *Transmitter) check(ctx context.Context, s *Stream) error {
	if err := s.validate(); err != nil {
		return err
	}
	if s.Method == Push {
		return t.checkEndpoint(ctx, s.Endpoint)
	}
	return nil
}

// Delete ends a stream. The errors are ErrNotFound and ErrUnavailable.
func (t *Transmitter) Delete(ctx context.Context, id string) error {
	if err := t.cfg.Bus.DeleteFeed(ctx, id); err != nil {
		return unavailable(err)
	}
	t.changed(id)
	t.log.Info("stream deleted", "stream", id)
	return nil
}

// changed forgets what was known of a stream before it changed.
func (t *Transmitter) changed(id string) {
	t.mu.Lock()
	delete(t.polled, id)
	t.mu.Unlock()
	select {
	case t.kick <- struct{}{}:
	default: // it is going to look anyway
	}
}

// Verify sends a verification event into the stream, with the receiver's state. The
// errors are ErrTooSoon, ErrNotFound and ErrUnavailable.
func (t *Transmitter) Verify(ctx context.Context, s *Stream, state string) error {
	t.mu.Lock()
	last := t.verified[s.ID]
	soon := time.Since(last) < minVerification
	if !soon {
		t.verified[s.ID] = time.Now()
	}
	t.mu.Unlock()
	if soon {
		return ErrTooSoon
	}
	set, err := t.verification(s, state)
	if err != nil {
		return err
	}
	if err := t.cfg.Bus.PublishFeed(ctx, s.ID, []byte(set)); err != nil {
		return unavailable(err)
	}
	return nil
}

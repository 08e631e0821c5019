package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
)

// Defaults of Settings.
const (
	// DefaultMaxAge covers a session of 30 days with its leeway.
	DefaultMaxAge = 31 * 24 * time.Hour
	// DefaultTokensMaxBytes holds some 15 million listed tokens. The server sets
	// the space aside when the stream is made, so it has to fit a small disk.
	DefaultTokensMaxBytes = 1 << 30
	// DefaultAuditMaxAge is how long events and receipts stay for auditors.
	DefaultAuditMaxAge = 90 * 24 * time.Hour
)

// epochKey is the entry of a stream's metadata that holds its epoch.
const epochKey = "rescind.epoch"

var allStreams = []events.Stream{events.Control, events.Tokens, events.Audit}

// Settings are what a deployment chooses about its streams.
type Settings struct {
	// MaxAge is how long the event streams keep a message: at least the longest
	// life of an event. Zero means DefaultMaxAge.
	MaxAge time.Duration
	// TokensMaxBytes limits the tokens stream. Zero means DefaultTokensMaxBytes
	// for a new stream and any limit for one that is there.
	TokensMaxBytes int64
	// AuditMaxAge is how long the audit stream keeps a message. Zero means
	// DefaultAuditMaxAge for a new stream and any age for one that is there.
	AuditMaxAge time.Duration
	// Replicas is how many servers hold each stream. Zero means 1 for a new
	// stream and any number for one that is there.
	Replicas int
}

// Apply makes the streams that are missing and strengthens those that are weaker
// than s. It never weakens one: an age, a size or a replica count above s stays.
// Doing it again changes nothing; it is safe to do from several programs at once.
//
// A new stream has a new epoch and starts at the Unix time in microseconds. The
// errors are ErrUnavailable, and ErrRefused when the server will not make or
// change a stream (some properties can only be set when it is made).
func (b *Bus) Apply(ctx context.Context, s Settings) error {
	if err := s.validate(); err != nil {
		return err
	}
	for _, stream := range allStreams {
		if err := b.apply(ctx, stream, s); err != nil {
			return fmt.Errorf("applying stream %s: %w", b.fleet.StreamName(stream), err)
		}
	}
	return nil
}

func (b *Bus) apply(ctx context.Context, stream events.Stream, s Settings) error {
	have, err := b.config(ctx, stream)
	if errors.Is(err, ErrNoStream) {
		fresh := b.wanted(stream, s.withDefaults())
		fresh.FirstSeq = uint64(time.Now().UnixMicro())
		stampEpoch(fresh)
		_, err = b.js.CreateStream(ctx, *fresh)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return adviseStorage(requestError(ctx, err))
		}
		have, err = b.config(ctx, stream) // another program was first
	}
	if err != nil {
		return err
	}
	if !mend(have, b.wanted(stream, s), b.wanted(stream, s.withDefaults())) {
		return nil
	}
	_, err = b.js.UpdateStream(ctx, *have)
	return adviseStorage(requestError(ctx, err))
}

// mend brings each property of have that does not satisfy want to the value in
// full, and tells whether there was any.
func mend(have, want, full *config) (changed bool) {
	for _, p := range properties {
		if !p.holds(have, want) {
			p.mend(have, full)
			changed = true
		}
	}
	return changed
}

// Verify is what a publisher checks before it takes work: that the server is
// recent enough and that each stream is there and at least as strong as s. It
// changes nothing. The error joins all that is wrong, each as ErrServerTooOld,
// ErrNoStream, ErrWeakStream (naming stream, property, what it is and what it
// must be) or ErrUnavailable, and says what to do.
func (b *Bus) Verify(ctx context.Context, s Settings) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("%w: not connected", ErrUnavailable)
	}
	errs := []error{checkVersion(b.nc.ConnectedServerVersion())}
	for _, stream := range allStreams {
		errs = append(errs, b.verify(ctx, stream, s))
	}
	return errors.Join(errs...)
}

func (b *Bus) verify(ctx context.Context, stream events.Stream, s Settings) error {
	name := b.fleet.StreamName(stream)
	have, err := b.config(ctx, stream)
	if errors.Is(err, ErrNoStream) {
		return fmt.Errorf("%w: %s; run: rescind streams apply", ErrNoStream, name)
	}
	if err != nil {
		return fmt.Errorf("verifying stream %s: %w", name, err)
	}
	want := b.wanted(stream, s)
	var errs []error
	for _, p := range properties {
		if !p.holds(have, want) {
			errs = append(errs, fmt.Errorf("%w: %s: %s is %s, must be %s; run: rescind streams apply",
				ErrWeakStream, name, p.name, p.show(have), p.show(b.wanted(stream, s.withDefaults()))))
		}
	}
	return errors.Join(errs...)
}

func (b *Bus) config(ctx context.Context, stream events.Stream) (*config, error) {
	info, err := b.ask(ctx, stream)
	if err != nil {
		return nil, err
	}
	return &info.Config, nil
}

func (s Settings) validate() error {
	if s.MaxAge < 0 || s.TokensMaxBytes < 0 || s.AuditMaxAge < 0 || s.Replicas < 0 || s.Replicas > 5 {
		return fmt.Errorf("%w: stream settings: ages and bytes must not be negative, Replicas must be 0 to 5", ErrRefused)
	}
	return nil
}

// withDefaults is s as it holds for a stream that is made now.
func (s Settings) withDefaults() Settings {
	if s.TokensMaxBytes == 0 {
		s.TokensMaxBytes = DefaultTokensMaxBytes
	}
	if s.AuditMaxAge == 0 {
		s.AuditMaxAge = DefaultAuditMaxAge
	}
	if s.Replicas == 0 {
		s.Replicas = 1
	}
	return s
}

// wanted is the weakest configuration that will do. Where a setting is zero, so
// is the demand, except for what correctness needs.
func (b *Bus) wanted(stream events.Stream, s Settings) *config {
	f := b.fleet
	c := &config{
		Name: f.StreamName(stream), Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, DenyDelete: true, DenyPurge: true, AllowDirect: true,
		AllowAtomicPublish: stream != events.Tokens, // lists are not published together
		MaxConsumers:       -1, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxBytes: -1,
		Duplicates: dedupeWindow, Replicas: s.Replicas,
	}
	if stream == events.Feeds {
		return c // ApplyFeeds knows the rest
	}
	if stream == events.Audit {
		c.Description = "events and receipts of fleet " + string(f)
		c.Subjects, c.MaxAge = []string{f.AuditSubject(">")}, s.AuditMaxAge
		for _, from := range events.EventStreams {
			// Without a start sequence, nats-server 2.15.2 begins at the time of the
			// newest message here when this stream's first sequence is above 1, and
			// so skips what the source held before.
			c.Sources = append(c.Sources, &jetstream.StreamSource{Name: f.StreamName(from), OptStartSeq: 1})
		}
		return c
	}
	c.Description = string(stream) + " events of fleet " + string(f)
	c.Subjects, c.MaxAge = []string{f.EventSubject(stream)}, s.MaxAge
	c.RePublish = &jetstream.RePublish{Source: f.EventSubject(stream), Destination: f.LiveSubject(stream)}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if stream == events.Tokens {
		c.MaxBytes = max(s.TokensMaxBytes, 1)
	}
	return c
}

func stampEpoch(c *config) {
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[epochKey] = events.NewEventID().String() // a UUIDv7
}

// adviseStorage adds what to do when the server cannot set the space aside.
func adviseStorage(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == codeStorageResources ||
		api.ErrorCode == codeServerResources || api.ErrorCode == codeAccountResources) {
		return fmt.Errorf("%w: lower the tokens stream's size or raise the server's max_file_store", err)
	}
	return err
}

// checkVersion refuses servers before 2.14.6, which can lose acknowledged
// messages even with sync_interval: always (nats-server issue 8475).
func checkVersion(version string) error {
	var v [3]int
	n, _ := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2])
	oldest := [3]int{2, 14, 6}
	for i := range v {
		if n < 3 || v[i] < oldest[i] {
			return fmt.Errorf("%w: it is %q, must be 2.14.6 or later; upgrade nats-server", ErrServerTooOld, version)
		}
		if v[i] > oldest[i] {
			break
		}
	}
	return nil
}

package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/realm"
)

// KeySource gives the publishers' keys; *events.KeySet is one.
type KeySource interface {
	Keys(ctx context.Context) (*events.KeySet, error)
}

// Config configures a publisher. Issuer, Signer, Realms and Dir must be set.
type Config struct {
	// Fleet to publish to; "" means events.DefaultFleet.
	Fleet events.Fleet
	// Issuer is the publisher's public URL, the iss of what it signs.
	Issuer string
	// Signer is its key; the publisher's id is the one that the key is bound to.
	Signer *events.Signer
	// Keys are all publishers' keys, to follow what others revoke; nil means its
	// own only.
	Keys KeySource
	// Realms that can be named as targets.
	Realms *realm.Realms
	// Dir keeps the ledger.
	Dir string
	// Expect is how many agents of each service must be known.
	Expect map[string]int
	// ForgetAfter is how long a silent agent stays listed; 0 means 10 min.
	ForgetAfter time.Duration
	// AckTimeout bounds the wait for the bus's acknowledgement; 0 means 2 s.
	AckTimeout time.Duration
	// ReceiptAfter is how long the receipt waits for agents that have not
	// answered; 0 means 10 s.
	ReceiptAfter time.Duration
	// ListenFor is how long a starting publisher listens for agents before it is
	// ready; 0 means 1 s.
	ListenFor time.Duration
	// Streams is what the streams must be; the zero value is the default.
	Streams bus.Settings
	// Logger receives what is worth a person's attention; nil means none.
	Logger *slog.Logger

	// clock stands in for the time in tests.
	clock func() time.Time
}

func (c Config) validate() error {
	if err := c.fleet().Validate(); err != nil {
		return fmt.Errorf("config: Fleet: %w", err)
	}
	if u, err := url.Parse(c.Issuer); err != nil || u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("config: Issuer %q is not a URL", c.Issuer)
	}
	if c.Signer == nil {
		return errors.New("config: Signer is nil: make a key with: rescind keys new")
	}
	if c.Realms == nil {
		return errors.New("config: Realms is nil")
	}
	if c.Dir == "" {
		return errors.New("config: Dir is empty: a publisher without a ledger could lose what it accepted")
	}
	for name, d := range map[string]time.Duration{"ForgetAfter": c.ForgetAfter, "AckTimeout": c.AckTimeout,
		"ReceiptAfter": c.ReceiptAfter, "ListenFor": c.ListenFor} {
		if d < 0 {
			return fmt.Errorf("config: %s is negative", name)
		}
	}
	return nil
}

func (c Config) fleet() events.Fleet         { return cmp.Or(c.Fleet, events.DefaultFleet) }
func (c Config) ackTimeout() time.Duration   { return cmp.Or(c.AckTimeout, 2*time.Second) }
func (c Config) receiptAfter() time.Duration { return cmp.Or(c.ReceiptAfter, 10*time.Second) }
func (c Config) listenFor() time.Duration    { return cmp.Or(c.ListenFor, time.Second) }

func (c Config) keys() KeySource {
	if c.Keys == nil {
		return events.NewKeySet(c.Signer.Public())
	}
	return c.Keys
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("component", "publisher")
}

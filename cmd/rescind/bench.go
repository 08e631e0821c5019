package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

type benchCmd struct {
	For      time.Duration `help:"How long to listen for beacons and agents; 0s leaves it out." default:"10s"`
	Receipts int           `help:"How many of the last receipts to sum up; 0 leaves them out." default:"1000"`
	Revoke   int           `help:"Revoke so many made-up tokens, and measure that too. It asks first." placeholder:"N"`
	Yes      bool          `help:"Do not ask." short:"y"`
	Issuer   string        `help:"Issuer of the made-up tokens, one that the publisher knows. Default: the first of the configuration, or of a development realm in DIR." placeholder:"URL"`
	Timeout  time.Duration `help:"How long each revocation waits for all agents." default:"5s"`
	Keys     string        `help:"Publishers' public keys, a JWKS file or URL. Default: publishers.jwks in DIR." placeholder:"FILE|URL"`
}

func (c *benchCmd) Help() string {
	return `Without --revoke it only reads, and nobody notices: it is no agent in any list, makes no consumer,
sends no event, and needs no key but the publishers' public ones. On NATS it must be allowed to do
what an agent does, to listen to FLEET.status.*, and to read the audit stream.

CHECK reads the whole set into memory, as a new agent does, and checks random tokens against it.
BUS listens: how old beacons are when they arrive, how far each agent is.
PROPAGATION sums up the signed receipts of the audit stream: how long each agent took.
REVOCATIONS, with --revoke N, sends N requests to the publisher, each for one made-up token, and
measures how long it takes until all agents have applied it; it exits with 3 if one never answered.`
}

// The most that may be asked for.
const (
	maxBenchFor      = time.Hour
	maxBenchReceipts = 1_000_000
	maxBenchRevoke   = 10_000
	maxBenchTimeout  = 30 * time.Second // the publisher's own limit
)

// Validate is kong's.
func (c *benchCmd) Validate() error {
	switch {
	case c.For < 0 || c.For > maxBenchFor:
		return fmt.Errorf("--for must be 0s to %s", maxBenchFor)
	case c.Receipts < 0 || c.Receipts > maxBenchReceipts:
		return fmt.Errorf("--receipts must be 0 to %d", maxBenchReceipts)
	case c.Revoke < 0 || c.Revoke > maxBenchRevoke:
		return fmt.Errorf("--revoke must be 0 to %d", maxBenchRevoke)
	case c.Timeout <= 0 || c.Timeout > maxBenchTimeout:
		return fmt.Errorf("--timeout must be above zero and at most %s", maxBenchTimeout)
	}
	return checkKeys(c.Keys)
}

// benchReport is all that was measured; what was left out is absent.
type benchReport struct {
	Fleet  string          `json:"fleet"`
	NATS   string          `json:"nats"`
	Read   *readFigures    `json:"read"`
	Checks []checkFigures  `json:"checks"`
	Bus    *beaconFigures  `json:"bus,omitempty"`
	Past   *receiptFigures `json:"propagation,omitempty"`
	Now    *revokeFigures  `json:"revocations,omitempty"`
}

// bench is one run.
type bench struct {
	*globals
	nc   *nats.Conn
	bus  *bus.Bus
	keys *events.KeySet
	page page
	// deaf tells that NATS does not let this user listen to statuses.
	deaf atomic.Bool
}

func (c *benchCmd) Run(ctx context.Context, g *globals) error {
	asked := ctx
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	b, err := c.open(ctx, g, cancel)
	if err != nil {
		return err
	}
	defer b.nc.Close()
	issuer := ""
	if c.Revoke > 0 {
		if issuer, err = c.mayRevoke(ctx, g); err != nil {
			return err
		}
	}
	report := benchReport{Fleet: g.Fleet, NATS: b.nc.ConnectedUrlRedacted()}
	if err := c.measure(ctx, b, issuer, &report); err != nil {
		switch {
		case asked.Err() != nil:
			return exit{exitFailed, "interrupted"}
		case ctx.Err() != nil:
			return context.Cause(ctx) // what NATS refuses shows as silence to those who asked
		}
		return err
	}
	if g.JSON {
		if err := printJSON(g.std.out, report); err != nil {
			return err
		}
	}
	return report.Now.outcome()
}

// measure fills the report, and shows each part once it is there.
func (c *benchCmd) measure(ctx context.Context, b *bench, issuer string, r *benchReport) (err error) {
	set, read, err := b.readSet(ctx)
	if err != nil {
		return err
	}
	b.title("CHECK", "what a new agent reads, and what a check costs against it")
	r.Read = read
	read.print(b)
	if r.Checks, err = b.checkSet(ctx, set); err != nil {
		return err
	}
	printChecks(b, r.Checks)
	if c.For > 0 {
		if r.Bus, err = b.listen(ctx, c.For); err != nil {
			return err
		}
		b.title("BUS", "what was overheard in "+c.For.String())
		r.Bus.print(b)
	}
	if c.Receipts > 0 {
		if r.Past, err = b.past(ctx, c.Receipts); err != nil {
			return err
		}
		b.title("PROPAGATION", fmt.Sprintf("the last %s receipts of the audit stream", grouped(int64(c.Receipts))))
		r.Past.print(b)
	}
	if c.Revoke > 0 {
		if r.Now, err = b.revoke(ctx, c, issuer); err != nil {
			return err
		}
		b.title("REVOCATIONS", counted(c.Revoke, "made-up token"))
		r.Now.print(b)
	}
	return nil
}

// open connects and reads the keys. What NATS refuses later cancels the run.
func (c *benchCmd) open(ctx context.Context, g *globals, cancel context.CancelCauseFunc) (*bench, error) {
	source, err := keySource(orPath(c.Keys, g.path(jwksFile)))
	if err != nil {
		return nil, err
	}
	b := &bench{globals: g, page: newPage(g.std.out)}
	if b.keys, err = source.Keys(ctx); err != nil {
		return nil, err
	}
	if b.nc, err = g.connectOnce(nats.Name("rescind bench"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		b.refused(err, cancel)
	})); err != nil {
		return nil, err
	}
	if b.bus, err = bus.New(b.nc, events.Fleet(g.Fleet)); err != nil {
		b.nc.Close()
		return nil, err
	}
	return b, nil
}

// refused takes an error that NATS reports out of turn. Not to hear statuses
// leaves one table empty; anything else leaves nothing to measure.
func (b *bench) refused(err error, cancel context.CancelCauseFunc) {
	switch {
	case !errors.Is(err, nats.ErrPermissionViolation):
	case strings.Contains(err.Error(), `"`+b.statusSubject()+`"`):
		b.deaf.Store(true)
	default:
		cancel(fmt.Errorf("NATS does not allow it (%w): give --nats-creds of a user who may read the streams, "+
			"or leave a part out (--for 0s, --receipts 0)", err))
	}
}

func (b *bench) statusSubject() string { return b.bus.Fleet().StatusSubject("*") }

func (b *bench) whyNoStatuses() string {
	if b.deaf.Load() {
		return ": NATS does not let this user listen to " + b.statusSubject()
	}
	return ""
}

// printf prints for people; --json prints nothing but the report.
func (b *bench) printf(format string, args ...any) {
	if !b.JSON {
		fmt.Fprintf(b.std.out, format, args...)
	}
}

func (b *bench) title(name, what string) {
	b.printf("\n%s  %s\n", b.page.title(name), what)
}

// warn says what a person should look into.
func (b *bench) warn(format string, args ...any) {
	b.printf("  %s\n", b.page.alarm("! "+fmt.Sprintf(format, args...)))
}

func (b *bench) table(rows func(*tabwriter.Writer)) {
	if b.JSON {
		return
	}
	w := tabwriter.NewWriter(b.std.out, 0, 0, 2, ' ', 0)
	rows(w)
	_ = w.Flush() // as little is made of it as of a failing Printf
}

// row is one thing with its name in front.
func (b *bench) row(name, format string, args ...any) {
	b.printf("  %-10s %s\n", name, fmt.Sprintf(format, args...))
}

// note explains what stands above it.
func (b *bench) note(format string, args ...any) {
	b.printf("  %s\n", b.page.faint(fmt.Sprintf(format, args...)))
}

func (b *bench) percentiles(name string, f figures) {
	b.row(name, "p50 %s ms   p90 %s ms   p99 %s ms   max %s ms", short(f.P50), short(f.P90), short(f.P99), short(f.Max))
}

// seconds writes a time for people.
func seconds(s float64) string {
	if s < 1 {
		return short(s*1000) + " ms"
	}
	return short(s) + " s"
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// reasons lists what was counted, by name.
func reasons(counts map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %s", grouped(int64(counts[name])), name))
	}
	return strings.Join(out, ", ")
}

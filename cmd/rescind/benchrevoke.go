package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/schollz/progressbar/v3"
)

// revokeFigures say how long revocations took that were made for it.
type revokeFigures struct {
	// Revoked were accepted, Confirmed of them by every agent expected.
	Revoked   int `json:"revoked"`
	Confirmed int `json:"confirmed"`
	// AllMS is from the request until the answer that all have applied it, as the
	// caller sees it, in milliseconds; those that were confirmed only.
	AllMS figures `json:"all_ms"`
	// Queued tells that the bus was away, so that the rest was left.
	Queued bool `json:"queued,omitempty"`
	// Silent counts, by agent, the answers that lack it.
	Silent map[string]int `json:"silent,omitempty"`
	// Receipts are those of the revocations: what each agent took.
	Receipts *receiptFigures `json:"receipts"`
}

const (
	// benchTokenLife is what a made-up token claims to have left.
	benchTokenLife = time.Minute
	// receiptPatience is how long receipts may take once all have answered, and
	// silentPatience when an agent has not: publishers wait for it.
	receiptPatience = 3 * time.Second
	silentPatience  = 15 * time.Second
	pollEvery       = 100 * time.Millisecond
	// longestAll is the longest answer that is told apart, in microseconds.
	longestAll = int64(time.Minute / time.Microsecond)
)

// mayRevoke makes sure that there is an issuer, and a publisher that knows the
// caller's key, before anything is measured; and asks.
func (c *benchCmd) mayRevoke(ctx context.Context, g *globals) (issuer string, err error) {
	if issuer, err = c.issuer(g); err != nil {
		return "", err
	}
	if _, err := g.agentsBody(ctx); err != nil {
		return "", err
	}
	fleet := events.Fleet(g.Fleet)
	fmt.Fprintf(g.std.err, `--revoke %d sends %s to %s, one after the
other, each to revoke one made-up token: a random jti of issuer
%s that expires in a minute. Nobody holds it, so
nobody is signed out. What stays of it:
  agents, publishers  %s, in force for a minute and the realm's leeway,
                      dropped by the end of that hour; the requests for a day
  %-19s %s, until they age out
  %-19s the same, and %s, until they age out
`, c.Revoke, counted(c.Revoke, "request"), g.Publisher, issuer, counted(c.Revoke, "entry"),
		fleet.StreamName(events.Tokens), counted(c.Revoke, "event"), fleet.StreamName(events.Audit), counted(c.Revoke, "receipt"))
	if c.Yes {
		return issuer, nil
	}
	return issuer, g.confirm(ctx, "Go on?")
}

// issuer finds one that the publisher knows: a token of an unknown one would be
// refused.
func (c *benchCmd) issuer(g *globals) (string, error) {
	if c.Issuer != "" {
		return c.Issuer, nil
	}
	for _, name := range slices.Sorted(maps.Keys(g.file.Realms)) {
		if issuers := g.file.Realms[name].Issuers; len(issuers) > 0 {
			return issuers[0], nil
		}
	}
	// Only what is there is opened: opening would make it.
	if _, err := os.Stat(g.path("realms")); err == nil {
		dev, err := realm.OpenDev(g.Dir)
		if err != nil {
			return "", err
		}
		return dev.Configs()["demo"].Issuers[0], nil
	}
	return "", usage("--revoke needs an issuer that the publisher knows: name one with --issuer, or give its --config")
}

// revoke revokes made-up tokens one after the other, and reads their receipts.
func (b *bench) revoke(ctx context.Context, c *benchCmd, issuer string) (*revokeFigures, error) {
	// Nothing is revoked that could not be measured.
	info, err := b.openAudit(ctx)
	if err != nil {
		return nil, err
	}
	f := &revokeFigures{Silent: map[string]int{}}
	all, ids := newRecorder(longestAll, 1000), map[events.EventID]bool{}
	bar := newProgress(b.std.err, "revoking            ", int64(c.Revoke), progressbar.OptionShowCount())
	defer bar.end()
	for i := range c.Revoke {
		begun := time.Now()
		a, err := b.revokeOne(ctx, c, issuer)
		if err != nil {
			return nil, fmt.Errorf("revocation %d of %d: %w", i+1, c.Revoke, err)
		}
		took := time.Since(begun)
		if f.Revoked++; a == nil {
			f.Queued = true
			break
		}
		if id, err := events.ParseEventID(a.ID); err == nil {
			ids[id] = true
		}
		if a.ErrorCount == 0 && a.Agents.Applied >= a.Agents.Expected {
			f.Confirmed++
			all.record(took.Microseconds())
		}
		for _, e := range a.ErrorDetails {
			f.Silent[strings.TrimSpace(e.Agent+" "+e.Type)]++
		}
		bar.add(1, int64(c.Revoke-i-1))
	}
	bar.end()
	f.AllMS = all.figures()
	patience := receiptPatience
	if f.Confirmed < f.Revoked {
		patience = silentPatience
	}
	f.Receipts, err = b.receiptsOf(ctx, ids, info.Last+1, patience)
	return f, err
}

// revokeOne gives the publisher's answer, nil when the bus is away.
func (b *bench) revokeOne(ctx context.Context, c *benchCmd, issuer string) (*answer, error) {
	q := url.Values{"wait": {"all"}, "timeout": {c.Timeout.String()}}
	status, body, err := b.globals.call(ctx, http.MethodPost, "/v1/revocations?"+q.Encode(), target{
		"identities": []map[string]any{{"iss": issuer, "jti": "rescind-bench-" + rand.Text(), "exp": time.Now().Add(benchTokenLife).Unix()}},
		"reason":     "rescind bench"})
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusAccepted:
		return nil, nil
	case status != http.StatusCreated:
		return nil, refusal(status, body)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("the publisher's answer: %w", err)
	}
	return &a, nil
}

// receiptsOf waits for the receipts of requests.
func (b *bench) receiptsOf(ctx context.Context, ids map[events.EventID]bool, from uint64, patience time.Duration) (*receiptFigures, error) {
	bar := newProgress(b.std.err, "awaiting receipts   ", int64(len(ids)), progressbar.OptionShowCount())
	defer bar.end()
	late := time.After(patience)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for before := 0; ; {
		info, err := b.auditInfo(ctx)
		if err != nil {
			return nil, err
		}
		found, refused, err := b.receiptsBetween(ctx, from, info.Last)
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(r *events.Receipt) bool { return !ids[r.ID] })
		bar.add(int64(len(found)-before), int64(len(ids)-len(found)))
		if before = len(found); before >= len(ids) {
			return figuresOf(found, refused), nil
		}
		select {
		case <-tick.C:
		case <-late:
			return figuresOf(found, refused), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (f *revokeFigures) print(b *bench) {
	b.row("revoked", "%s, of which every agent confirmed %s", grouped(int64(f.Revoked)), grouped(int64(f.Confirmed)))
	if f.AllMS.Count > 0 {
		b.percentiles("answered", f.AllMS)
		b.note("from the request here until the answer that all agents have applied it")
		b.printf("\n%s", b.page.histogram(f.AllMS, "ms"))
	}
	if f.Queued {
		b.warn("the publisher has no bus: the last one is queued, the rest was left")
	}
	for _, who := range slices.Sorted(maps.Keys(f.Silent)) {
		b.warn("%s in %s", who, counted(f.Silent[who], "answer"))
	}
	if n := f.Revoked - f.Receipts.Receipts; n > 0 {
		b.warn("%s had not come in at the end", counted(n, "receipt"))
	}
	f.Receipts.printRefused(b)
	f.Receipts.printAgents(b)
}

// outcome is how the program ends: 3 when somebody has not confirmed.
func (f *revokeFigures) outcome() error {
	if f == nil || f.Confirmed == f.Revoked && !f.Queued {
		return nil
	}
	return exit{code: exitUnconfirmed}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/intake"
)

type revokeCmd struct {
	Wait      string        `help:"Whose reports to wait for: none, any, all, or a number of agents." default:"all"`
	Timeout   time.Duration `help:"How long to wait for them." default:"2s"`
	Reason    string        `help:"Why; kept in the audit stream." placeholder:"TEXT"`
	NotBefore int64         `help:"Cutoff in Unix seconds: tokens issued until then are revoked. Default: now." placeholder:"UNIX"`
	DryRun    bool          `help:"Only ask the agents how many live tokens it would hit; revoke nothing."`

	Token   revokeTokenCmd   `cmd:"" help:"Revoke one token."`
	Tokens  revokeTokensCmd  `cmd:"" help:"Revoke up to 100,000 tokens, one a line."`
	Session revokeSessionCmd `cmd:"" help:"Revoke every token of a session (sid)."`
	User    revokeUserCmd    `cmd:"" help:"Revoke every token of a user issued until now."`
	Realm   revokeRealmCmd   `cmd:"" help:"Revoke every token of a realm issued until now."`
	Client  revokeClientCmd  `cmd:"" help:"Revoke every token of a client issued until now."`
	All     revokeAllCmd     `cmd:"" help:"Revoke every token issued until now."`
}

// Validate is kong's.
func (r *revokeCmd) Validate() error {
	if _, err := publisher.ParseWait(r.Wait); err != nil {
		return fmt.Errorf("--wait: %w", err)
	}
	if r.NotBefore < 0 {
		return errors.New("--not-before must be a Unix time in seconds")
	}
	return notNegative("--timeout", r.Timeout)
}

// target is what a subcommand adds to the request.
type target map[string]any

type revokeTokenCmd struct {
	Token   string `arg:"" help:"The token, - to read it from standard input."`
	Refresh bool   `help:"It is a refresh token."`
}

func (c *revokeTokenCmd) Run(ctx context.Context, g *globals, r *revokeCmd) error {
	raw, err := g.tokenArg(c.Token)
	if err != nil {
		return err
	}
	if c.Refresh {
		return r.order(ctx, g, target{"refresh_token": raw})
	}
	return r.order(ctx, g, target{"token": raw})
}

type revokeTokensCmd struct {
	File string `help:"File with the tokens, - for standard input. A line is a token, or a JSON object with iss, jti and exp." default:"-"`
}

// Run sends the list as lines, of which the publisher makes events of 1,000.
func (c *revokeTokensCmd) Run(ctx context.Context, g *globals, r *revokeCmd) error {
	if r.NotBefore != 0 {
		return usage("--not-before makes no sense for tokens")
	}
	in := g.std.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	body, err := tokenLines(in)
	if err != nil {
		return err
	}
	q := r.query()
	if r.Reason != "" {
		q.Set("reason", r.Reason)
	}
	sending := newProgress(g.std.err, "sending", int64(body.Len()), progressbar.OptionShowBytes(true))
	status, answered, err := g.ask(ctx, http.MethodPost, "/v1/revocations?"+q.Encode(), "application/x-ndjson",
		&watchedReader{body, sending}, listTimeout)
	sending.end()
	if err != nil {
		return err
	}
	return r.tell(g, status, answered)
}

// listTimeout is how long a list may take to be sent and answered.
const listTimeout = 6 * time.Minute

// tokenLines makes the lines of a file into those of a list (NDJSON). Lines that are
// JSON objects stay as they are; the publisher checks all of them.
func tokenLines(in io.Reader) (*bytes.Buffer, error) {
	var out bytes.Buffer
	n := 0
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		if n++; n > intake.MaxLines {
			return nil, usage("more than %d tokens: send them in several lists", intake.MaxLines)
		}
		if !strings.HasPrefix(text, "{") {
			b, err := json.Marshal(map[string]string{"token": text})
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		out.WriteString(text + "\n")
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	if n == 0 {
		return nil, usage("no tokens to revoke")
	}
	return &out, nil
}

// watchedReader shows how much of it was read.
type watchedReader struct {
	*bytes.Buffer
	shown *progress
}

// Read is io.Reader's.
func (w *watchedReader) Read(b []byte) (int, error) {
	n, err := w.Buffer.Read(b)
	w.shown.add(int64(n), int64(w.Buffer.Len()))
	return n, err
}

type revokeSessionCmd struct {
	Session string `arg:"" help:"The session (sid)."`
	Realm   string `help:"Its realm." required:""`
}

func (c *revokeSessionCmd) Run(ctx context.Context, g *globals, r *revokeCmd) error {
	return r.order(ctx, g, target{"session": c.Session, "realm": c.Realm})
}

type revokeUserCmd struct {
	User  string `arg:"" help:"The user."`
	Realm string `help:"The user's realm; none means all realms." placeholder:"REALM"`
}

func (c *revokeUserCmd) Run(ctx context.Context, g *globals, r *revokeCmd) error {
	t := target{"user": c.User}
	if c.Realm != "" {
		t["realm"] = c.Realm
	}
	return r.order(ctx, g, t)
}

type revokeClientCmd struct {
	Client string `arg:"" help:"The client (client_id or azp)."`
	Realm  string `help:"Its realm." required:""`
}

func (c *revokeClientCmd) Run(ctx context.Context, g *globals, r *revokeCmd) error {
	return r.order(ctx, g, target{"client": c.Client, "realm": c.Realm})
}

type revokeRealmCmd struct {
	Realm string `arg:"" help:"The realm."`
	Yes   bool   `help:"Do not ask." short:"y"`
}

func (c *revokeRealmCmd) Run(ctx context.Context, g *globals, r *revokeCmd) error {
	if !c.Yes && !r.DryRun {
		if err := g.confirm(ctx, fmt.Sprintf("Sign out everybody of realm %s?", c.Realm)); err != nil {
			return err
		}
	}
	return r.order(ctx, g, target{"realm": c.Realm})
}

type revokeAllCmd struct {
	Yes bool `help:"Do not ask." short:"y"`
}

func (c *revokeAllCmd) Run(ctx context.Context, g *globals, r *revokeCmd) error {
	if !c.Yes && !r.DryRun {
		if err := g.confirm(ctx, "Sign out everybody of every realm?"); err != nil {
			return err
		}
	}
	return r.order(ctx, g, target{"all": true})
}

// confirm asks a person. No answer is no, and so is an interrupt.
func (g *globals) confirm(ctx context.Context, question string) error {
	fmt.Fprintf(g.std.err, "%s [y/N] ", question)
	type read struct {
		line string
		err  error
	}
	answered := make(chan read, 1)
	go func() { // it waits for a line for as long as the process lives
		line, err := bufio.NewReader(g.std.in).ReadString('\n')
		answered <- read{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(g.std.err)
		return exit{exitFailed, "not confirmed"}
	case r := <-answered:
		if r.err != nil && r.line == "" {
			return exit{exitFailed, "not confirmed; --yes does not ask"}
		}
		if answer := strings.ToLower(strings.TrimSpace(r.line)); answer != "y" && answer != "yes" {
			return exit{exitFailed, "not confirmed"}
		}
		return nil
	}
}

// answer is what the publisher says to an order.
type answer struct {
	ID                          string `json:"id"`
	Status                      string `json:"status"`
	InvalidatedTokens           int    `json:"invalidated_tokens"`
	PreviouslyInvalidatedTokens int    `json:"previously_invalidated_tokens"`
	ErrorCount                  int    `json:"error_count"`
	ErrorDetails                []struct {
		Agent, Type, Reason string
	} `json:"error_details"`
	Agents struct {
		Expected, Applied int
	} `json:"agents"`
	CountsMissing []string `json:"counts_missing"`
	AtLeast       bool     `json:"at_least"`
	ElapsedMS     int64    `json:"elapsed_ms"`
}

func (r *revokeCmd) order(ctx context.Context, g *globals, t target) error {
	if r.Reason != "" {
		t["reason"] = r.Reason
	}
	if r.NotBefore != 0 {
		t["not_before"] = r.NotBefore
	}
	status, body, err := g.call(ctx, http.MethodPost, "/v1/revocations?"+r.query().Encode(), t)
	if err != nil {
		return err
	}
	return r.tell(g, status, body)
}

func (r *revokeCmd) query() url.Values {
	q := url.Values{"wait": {r.Wait}, "timeout": {r.Timeout.String()}}
	if r.DryRun {
		q.Set("dry_run", "true")
	}
	return q
}

// tellDry prints what the order would do.
func (r *revokeCmd) tellDry(g *globals, status int, body []byte) error {
	if status != http.StatusOK {
		return refusal(status, body)
	}
	var a struct {
		answer
		Warnings []string                         `json:"warnings"`
		Agents   struct{ Expected, Answered int } `json:"agents"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the publisher's answer: %w", err)
	}
	if g.JSON {
		if _, err := g.std.out.Write(append(body, '\n')); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(g.std.out, "would invalidate %s%d tokens, %d are already; %d of %d agents answered\n", a.least(), a.InvalidatedTokens,
			a.PreviouslyInvalidatedTokens, a.Agents.Answered, a.Agents.Expected)
		a.printErrors(g)
		for _, text := range a.Warnings {
			fmt.Fprintf(g.std.out, "  warning: %s\n", text)
		}
	}
	if a.ErrorCount > 0 {
		return exit{code: exitUnconfirmed}
	}
	return nil
}

// tell prints what the publisher answered.
func (r *revokeCmd) tell(g *globals, status int, body []byte) error {
	if r.DryRun {
		return r.tellDry(g, status, body)
	}
	if status != http.StatusCreated && status != http.StatusAccepted {
		return refusal(status, body)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the publisher's answer: %w", err)
	}
	if g.JSON {
		if _, err := g.std.out.Write(append(body, '\n')); err != nil {
			return err
		}
	} else {
		a.print(g, status)
	}
	if status == http.StatusAccepted || !r.confirmed(&a) {
		return exit{code: exitUnconfirmed}
	}
	return nil
}

// confirmed tells whether as many agents as --wait asked for have applied it.
func (r *revokeCmd) confirmed(a *answer) bool {
	switch wait, err := publisher.ParseWait(r.Wait); {
	case err != nil || wait == publisher.WaitAll:
		return a.ErrorCount == 0 && a.Agents.Applied >= a.Agents.Expected
	default:
		return a.Agents.Applied >= int(wait)
	}
}

func (a *answer) print(g *globals, status int) {
	out := g.std.out
	if status == http.StatusAccepted {
		fmt.Fprintf(out, "queued %s: the bus is away; it will be published when it is back\n", a.ID)
		return
	}
	fmt.Fprintf(out, "revoked %s: %s%d tokens invalidated, %d already, %d of %d agents applied it, %d ms\n",
		a.ID, a.least(), a.InvalidatedTokens, a.PreviouslyInvalidatedTokens, a.Agents.Applied, a.Agents.Expected, a.ElapsedMS)
	a.printErrors(g)
	for _, name := range a.CountsMissing {
		fmt.Fprintf(out, "  %s  counts are missing\n", name)
	}
}

func (a *answer) least() string {
	if a.AtLeast {
		return "at least "
	}
	return ""
}

func (a *answer) printErrors(g *globals) {
	for _, e := range a.ErrorDetails {
		fmt.Fprintf(g.std.out, "  %s  %s: %s\n", e.Agent, e.Type, e.Reason)
	}
}

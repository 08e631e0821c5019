package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rescind/rescind/internal/realm"
)

type demoCmd struct {
	Keep bool `help:"Leave the demo's data where it is."`
}

func (c *demoCmd) Help() string {
	return `Starts NATS, a publisher and three services with an agent each, as processes of their own on free
loopback ports and in a temporary directory; signs users in, revokes in every way, kills an agent,
and shows that all of them refuse. Exits with 0, or with 1 and the step that failed.`
}

// demo is one run of the story.
type demo struct {
	g        *globals
	ctx      context.Context
	dir      string
	dev      *realm.Dev
	adminKey string
	nats     *process
	pub      *process
	services []*process
	client   *http.Client
}

const demoServices = 3

// refuseWithin is how long every agent has to refuse after a revocation.
const refuseWithin = 10 * time.Second

func (c *demoCmd) Run(ctx context.Context, g *globals) (err error) {
	dir, err := os.MkdirTemp("", "rescind-demo-")
	if err != nil {
		return err
	}
	d := &demo{g: g, ctx: ctx, dir: dir, client: &http.Client{Timeout: 10 * time.Second}}
	if c.Keep {
		d.tell("data: "+dir, "data", dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	began := time.Now()
	for i, s := range d.steps() {
		d.tell(fmt.Sprintf("%2d. %s", i+1, s.name), "step", s.name)
		if err := s.run(); err != nil {
			return fmt.Errorf("step %d (%s) failed: %w", i+1, s.name, err)
		}
	}
	took := time.Since(began).Round(100 * time.Millisecond).String()
	d.tell("\nAll steps held, in "+took+".", "held_in", took)
	return nil
}

type step struct {
	name string
	run  func() error
}

func (d *demo) steps() []step {
	return []step{
		{"start NATS, a publisher and three services, each with an agent", d.start},
		{"sign users in with tokens of three algorithms, and call every service", d.signIn},
		{"revoke a token (Elasticsearch API)", d.revokeToken},
		{"sign out with one's own token (LUSID API)", d.signOut},
		{"revoke a session (native API)", d.revokeSession},
		{"revoke a user everywhere (Elasticsearch API)", d.revokeUser},
		{"revoke a user in one realm (Elasticsearch API)", d.revokeUserInRealm},
		{"revoke a realm (command line)", d.revokeRealm},
		{"kill an agent, revoke, start it again", d.killAgent},
	}
}

func (d *demo) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.tell("      "+strings.ReplaceAll(text, "\n", "\n      "), "text", text)
}

// tell prints a line of the story. The story is told even if nobody can read it.
func (d *demo) tell(line, key, value string) { _ = d.g.announce(line, key, value) }

func (d *demo) path(name ...string) string { return filepath.Join(append([]string{d.dir}, name...)...) }

func (d *demo) start() (err error) {
	if _, err := ensureAdminKey(d.path("admin.key")); err != nil {
		return err
	}
	if d.adminKey, err = readKey(d.path("admin.key")); err != nil {
		return err
	}
	if _, err := newSigner(d.dir, "demo", nil); err != nil {
		return err
	}
	if d.dev, err = realm.OpenDev(d.dir); err != nil {
		return err
	}
	if d.nats, err = startProcess(d.ctx, "nats", "nats", "--dir", d.dir, "--nats-listen", "127.0.0.1:0"); err != nil {
		return err
	}
	if err := d.command("streams", "apply", "--nats", d.nats.url); err != nil {
		return err
	}
	if d.pub, err = startProcess(d.ctx, "publisher", "publisher", "--dir", d.dir, "--nats", d.nats.url,
		"--listen", "127.0.0.1:0", "--dev"); err != nil {
		return err
	}
	for i := range demoServices {
		p, err := d.startService(i)
		if err != nil {
			return err
		}
		d.services = append(d.services, p)
	}
	if err := d.await(d.pub.url+"/readyz", "", http.StatusOK); err != nil {
		return err
	}
	d.say("NATS %s, publisher %s", d.nats.url, d.pub.url)
	for _, s := range d.services {
		d.say("%s %s (process %d)", s.name, s.url, s.cmd.Process.Pid)
	}
	return nil
}

func (d *demo) startService(i int) (*process, error) {
	name := fmt.Sprintf("web-%d", i+1)
	return startProcess(d.ctx, name, "demo-service", "--instance", name, "--dir", d.path(name), "--realms", d.dir,
		"--keys", d.path(jwksFile), "--nats", d.nats.url)
}

// command runs this program as a user would, to its end.
func (d *demo) command(args ...string) error {
	cmd, err := selfCommand(d.ctx, args...)
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("rescind %s: %w: %s", strings.Join(args, " "), err, out)
	}
	if s := strings.TrimSpace(string(out)); s != "" {
		d.say("%s", s)
	}
	return nil
}

func (d *demo) stop() error {
	var errs []error
	for _, p := range append(append([]*process{}, d.services...), d.pub, d.nats) {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

func (d *demo) token(req realm.TokenRequest) (string, error) {
	raw, err := d.dev.Issue(req)
	if err != nil {
		return "", err
	}
	for _, s := range d.services {
		if err := d.await(s.url, raw, http.StatusOK); err != nil {
			return "", fmt.Errorf("a fresh token: %w", err)
		}
	}
	return raw, nil
}

// get calls a URL with a token and gives the status.
func (d *demo) get(url, token string) (int, string, error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := d.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, strings.TrimSpace(string(b)), err
}

// await calls until the answer has the status.
func (d *demo) await(url, token string, want int) error {
	deadline := time.Now().Add(refuseWithin)
	for {
		got, body, err := d.get(url, token)
		if err == nil && got == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s answers %d %s %v, want %d", url, got, body, err, want)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-d.ctx.Done():
			return context.Cause(d.ctx)
		}
	}
}

// refused sends a revocation and waits until every service answers 401 to the
// tokens. It prints what was sent, the receipt, and the time from sending to the
// last refusal.
func (d *demo) refused(what string, send func() (string, error), tokens ...string) error {
	began := time.Now()
	answers := make(chan error, 1)
	var receipt string
	go func() {
		r, err := send()
		receipt = r
		answers <- err
	}()
	errs := make([]error, len(d.services)*len(tokens))
	var all sync.WaitGroup
	for i, s := range d.services {
		for j, tok := range tokens {
			all.Go(func() { errs[i*len(tokens)+j] = d.await(s.url, tok, http.StatusUnauthorized) })
		}
	}
	all.Wait()
	took := time.Since(began)
	if err := errors.Join(append(errs, <-answers)...); err != nil {
		return err
	}
	d.say("sent     %s", what)
	d.say("receipt  %s", receipt)
	d.say("refused by all %d services %.1f ms after sending", len(d.services), float64(took.Microseconds())/1000)
	return nil
}

// request sends a request to the publisher and gives the answer in one line.
func (d *demo) request(method, path, bearer, body string, want int) (string, error) {
	req, err := http.NewRequestWithContext(d.ctx, method, d.pub.url+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := d.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return "", err
	}
	if res.StatusCode != want {
		return "", fmt.Errorf("%s %s answered %s: %s", method, path, res.Status, b)
	}
	return strings.TrimSpace(res.Status + " " + compact(b)), nil
}

// compact puts JSON on one line, and leaves anything else alone.
func compact(b []byte) string {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return string(b)
	}
	return out.String()
}

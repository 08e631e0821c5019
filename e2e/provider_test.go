package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// provider is node/provider.mjs.
type provider struct {
	t      *testing.T
	issuer string
	in     io.Writer
	out    *bufio.Scanner
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	if out, err := modules(); err != nil {
		t.Fatalf("npm ci in e2e/node (it takes Node 20 and npm): %v\n%s", err, out)
	}
	cmd := exec.Command("node", "provider.mjs")
	cmd.Dir = "node"
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, in: in, out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 1<<20)
	t.Cleanup(func() {
		// It ends with its input.
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("node provider.mjs: %v\n%s", err, errs.String())
		}
	})
	var up struct{ Issuer string }
	p.read(&up)
	p.issuer = up.Issuer
	return p
}

// read reads the next answer. What is no JSON is what the provider says of itself.
func (p *provider) read(answer any) {
	p.t.Helper()
	for p.out.Scan() {
		line := p.out.Text()
		if !strings.HasPrefix(line, "{") {
			continue
		}
		if strings.HasPrefix(line, `{"error"`) {
			p.t.Fatal(line)
		}
		if err := json.Unmarshal([]byte(line), answer); err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		return
	}
	p.t.Fatalf("the provider has ended: %v", p.out.Err())
}

func (p *provider) call(command string, arguments map[string]any, answer any) {
	p.t.Helper()
	arguments["command"] = command
	line, err := json.Marshal(arguments)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.in, "%s\n", line); err != nil {
		p.t.Fatal(err)
	}
	p.read(answer)
}

// login signs a user in with a browser, and gives the access token.
func (p *provider) login(user, browser string) string {
	p.t.Helper()
	var got struct {
		Token string `json:"access_token"`
	}
	p.call("login", map[string]any{"name": user, "browser": browser}, &got)
	return got.Token
}

// logout signs a browser out, and tells how many logout tokens were taken.
func (p *provider) logout(browser string) int {
	p.t.Helper()
	var got struct {
		Sent []struct {
			OK    bool
			Error string
		}
	}
	p.call("logout", map[string]any{"browser": browser}, &got)
	for _, s := range got.Sent {
		if !s.OK {
			p.t.Errorf("back-channel logout: %s", s.Error)
		}
	}
	return len(got.Sent)
}

// TestProviderIsARealmByItsIssuerAlone: a certified OpenID Provider, of which the fleet
// is told nothing but its URL, issues tokens that the agents accept, and its own
// back-channel logout makes every agent refuse them.
func TestProviderIsARealmByItsIssuerAlone(t *testing.T) {
	p := startProvider(t)
	f := newFleet(t)
	f.configure(fmt.Sprintf("realms:\n  idp: {issuers: [%q]}\n", p.issuer))
	f.start("a", "b", "c")
	check := func(what, token string, want int) {
		t.Helper()
		for name, a := range f.agents {
			if status := a.check(token); status != want {
				t.Errorf("agent %s answers %d to %s, want %d", name, status, what, want)
			}
		}
	}
	for _, session := range []bool{false, true} {
		t.Run(fmt.Sprintf("sessions %v", session), func(t *testing.T) {
			p.call("configure", map[string]any{"backchannel_logout_uri": f.pubURL + "/backchannel-logout", "session": session}, &struct{}{})
			ann, bob := fmt.Sprintf("ann-%v", session), fmt.Sprintf("bob-%v", session)
			first, second, other := p.login(ann, ann+"1"), p.login(ann, ann+"2"), p.login(bob, bob)
			check("a new token", first, 200)
			check("another session's token", second, 200)
			check("another user's token", other, 200)
			begun := time.Now()
			if n := p.logout(ann + "1"); n != 1 {
				t.Fatalf("%d logout tokens were sent", n)
			}
			check("a token that was signed out", first, 401)
			t.Logf("refused by three agents at most %d ms after the user set out to sign out", time.Since(begun).Milliseconds())
			if session {
				check("another session's token", second, 200)
			} else {
				check("another token of the user", second, 401)
			}
			check("another user's token", other, 200)
			// Who signs in again is let in again, from the next second on.
			eventually(t, 5*time.Second, "a token issued after the logout is accepted", func() bool {
				return f.agents["a"].check(p.login(ann, ann+"1")) == 200
			})
		})
	}
}

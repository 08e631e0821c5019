package main

import (
	"cmp"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/fleettest"
	"github.com/rescind/rescind/internal/realm"
)

// keysOf writes a key set where bench looks for it.
func keysOf(t *testing.T, dir string, keys *events.KeySet) {
	t.Helper()
	b, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, jwksFile), string(b))
}

func someSigner(t *testing.T, id string) *events.Signer {
	t.Helper()
	s, err := events.NewSigner(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// overheard notes every subject on which anything is published.
func overheard(t *testing.T, nc *nats.Conn) (subjects func() map[string]int) {
	t.Helper()
	var mu sync.Mutex
	heard := map[string]int{}
	sub, err := nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		heard[m.Subject]++
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() map[string]int {
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		_ = sub.Drain()
		bustest.Eventually(t, "all is heard", func() bool { return !sub.IsValid() })
		mu.Lock()
		defer mu.Unlock()
		return heard
	}
}

// consumers is how many consumers the streams have together.
func consumers(t *testing.T, nc *nats.Conn) (n int) {
	t.Helper()
	for _, s := range []events.Stream{events.Control, events.Tokens, events.Audit} {
		m, err := nc.Request("$JS.API.STREAM.INFO."+events.DefaultFleet.StreamName(s), nil, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var info struct {
			State struct {
				Consumers int `json:"consumer_count"`
			}
		}
		if err := json.Unmarshal(m.Data, &info); err != nil {
			t.Fatal(err)
		}
		n += info.State.Consumers
	}
	return n
}

// TestBenchReadsAndNobodyNotices: all that it says on NATS are requests that read.
func TestBenchReadsAndNobodyNotices(t *testing.T) {
	dir := alone(t)
	f := fleettest.Start(t)
	agent := f.OpenAgents(t, 1)[0]
	keysOf(t, dir, f.Keys)
	tok := f.Token(t, realm.TokenRequest{User: "jack"})
	if res := f.Revoke(t, fleettest.OneToken(tok)); !res.Complete {
		t.Fatalf("the revocation was not applied: %+v", res)
	}
	nc := f.Connect(t)
	bustest.Eventually(t, "the receipt is there", func() bool {
		m, err := nc.Request("$JS.API.STREAM.INFO."+events.DefaultFleet.StreamName(events.Audit), nil, time.Second)
		return err == nil && strings.Contains(string(m.Data), `"messages":2`)
	})
	had := consumers(t, nc)
	subjects := overheard(t, nc)

	code, out, errs := rescind(t, "", "bench", "--json", "--for", "2500ms", "--dir", dir, "--nats", f.Server.URL())
	if code != exitDone || errs != "" {
		t.Fatalf("exited with %d: %s", code, errs)
	}
	me := agent.Status().Agent.ID
	// $JS.S is how the server itself fills the audit stream.
	usual := []string{"_INBOX.", "$JS.S.", "$JS.API.DIRECT.GET.RESCIND_", "$JS.API.STREAM.INFO.RESCIND_", "$JS.EVENT.ADVISORY.API",
		"rescind.beacon", "rescind.status." + me}
	for subject, n := range subjects() {
		known := false
		for _, prefix := range usual {
			known = known || strings.HasPrefix(subject, prefix)
		}
		if !known {
			t.Errorf("%d messages on %s", n, subject)
		}
	}
	if got := consumers(t, nc); got != had {
		t.Errorf("there are %d consumers, there were %d", got, had)
	}
	if got := f.Publisher.Agents(); len(got) != 1 || got[0].ID != me {
		t.Errorf("the roster is %+v, want the agent only", got)
	}

	var r benchReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Read.Events != 1 || r.Read.Entries != 1 || r.Read.TableBytes == 0 || r.Checks[0].Checks == 0 || r.Checks[0].Refused != 0 {
		t.Errorf("read and checked: %+v %+v", r.Read, r.Checks)
	}
	if len(r.Bus.Publishers) != 1 || r.Bus.Publishers[0].ID != "p1" || r.Bus.Publishers[0].Beacons == 0 {
		t.Errorf("beacons: %+v", r.Bus.Publishers)
	}
	if r.Past.Receipts != 1 || r.Past.Complete != 1 || len(r.Past.Agents) != 1 || r.Past.Agents[0].Name != "test/a0" || r.Now != nil {
		t.Errorf("receipts: %+v, revocations %+v", r.Past, r.Now)
	}
}

func TestBenchSaysWhichKeysAreMissing(t *testing.T) {
	dir := alone(t)
	f := fleettest.Start(t)
	f.AwaitFresh(t, f.OpenAgents(t, 1)...)
	f.Revoke(t, fleettest.OneToken(f.Token(t, realm.TokenRequest{User: "jack"})))
	keysOf(t, dir, events.NewKeySet(someSigner(t, "p1").Public()))
	code, out, errs := rescind(t, "", "bench", "--for", "1500ms", "--dir", dir, "--nats", f.Server.URL())
	if code != exitDone || !strings.Contains(out, "1 message did not verify (1 unknown_key)") ||
		!strings.Contains(out, "no beacon in 1.5 s") || !strings.Contains(out, "beacons did not verify") &&
		!strings.Contains(out, "beacon did not verify") {
		t.Errorf("exited with %d: %s%s", code, out, errs)
	}
}

// TestBenchSaysInOneLineWhatIsInItsWay and what to do about it.
func TestBenchSaysInOneLineWhatIsInItsWay(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for name, c := range map[string]struct {
		denied string
		args   string
		code   int
		want   []string
	}{
		"NATS away":           {"", "--nats nats://u:secret@" + nobody, exitFailed, []string{"connecting to NATS", "--nats names another"}},
		"wrong password":      {"", "--nats nats://narrow:wrong@HOST", exitFailed, []string{"--nats-creds"}},
		"no keys":             {"", "--keys none.jwks", exitFailed, []string{"none.jwks", "rescind keys jwks"}},
		"no streams":          {"", "--fleet other", exitFailed, []string{"OTHER_", "rescind streams apply", "--fleet"}},
		"may not read":        {"$JS.API.DIRECT.GET.RESCIND_TOKENS", "", exitFailed, []string{"DIRECT.GET.RESCIND_TOKENS", "--nats-creds"}},
		"may not read audit":  {"$JS.API.DIRECT.GET.RESCIND_AUDIT", "", exitFailed, []string{"DIRECT.GET.RESCIND_AUDIT", "--receipts 0"}},
		"may not see audit":   {"$JS.API.STREAM.INFO.RESCIND_AUDIT", "", exitFailed, []string{"INFO.RESCIND_AUDIT", "--receipts 0"}},
		"may not hear":        {"rescind.beacon", "", exitFailed, []string{"rescind.beacon", "--for 0s"}},
		"may not hear agents": {"rescind.status.*", "", exitDone, nil},
		"no issuer":           {"", "--revoke 1 --yes", exitUsage, []string{"--issuer"}},
		"no key to revoke":    {"", "--revoke 1 --yes --issuer https://a", exitFailed, []string{"--api-key-file"}},
		"no publisher":        {"", "--revoke 1 --yes --issuer https://a --api-key-file key --publisher http://" + nobody, exitFailed, []string{"asking the publisher"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := alone(t)
			srv := bustest.Start(t, bustest.WithUser("narrow", "secret", cmp.Or(c.denied, "nothing")))
			srv.Bus(t, events.DefaultFleet)
			keysOf(t, dir, events.NewKeySet(someSigner(t, "p1").Public()))
			write(t, "key", "k")
			host := strings.TrimPrefix(srv.URL(), "nats://")
			args := []string{"bench", "--for", "300ms", "--dir", dir, "--nats", "nats://narrow:secret@" + host}
			for _, a := range strings.Fields(c.args) {
				args = append(args, strings.Replace(a, "HOST", host, 1))
			}
			code, out, errs := rescind(t, "", args...)
			if code != c.code {
				t.Errorf("exited with %d, want %d: %s%s", code, c.code, out, errs)
			}
			if c.code == exitDone {
				if !strings.Contains(out, "does not let this user listen to rescind.status.*") || errs != "" {
					t.Errorf("said %s%s", out, errs)
				}
				return
			}
			for _, want := range c.want {
				if !strings.Contains(errs, want) {
					t.Errorf("no %q in %q", want, errs)
				}
			}
			if strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "rescind: ") || strings.Contains(errs, "secret") {
				t.Errorf("said %q, want one line without the password", errs)
			}
		})
	}
}

func TestRedactedLeavesNoPassword(t *testing.T) {
	got := redacted("nats://u:secret@a:4222, nats://b,::secret")
	if want := "nats://u:xxxxx@a:4222,nats://b,(not a URL)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

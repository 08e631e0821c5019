package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// revokeUsers revokes users one by one through the native door, and gives a token
// of each, issued before.
func (f *fleet) revokeUsers(prefix string, n int) []string {
	f.t.Helper()
	tokens := make([]string, n)
	for i := range n {
		tokens[i] = f.token("--user", fmt.Sprintf("%s%d", prefix, i))
		status, body := request(f.t, http.MethodPost, f.pubURL+"/v1/revocations?wait=none", f.adminKey,
			fmt.Sprintf(`{"user":"%s%d","realm":"demo"}`, prefix, i))
		if status != http.StatusCreated {
			f.t.Fatalf("revoking: %d %s", status, body)
		}
	}
	return tokens
}

// TestAgentDownDuringAThousandRevocations: it refuses all of them within a second
// of starting, and is fresh within 2.5.
func TestAgentDownDuringAThousandRevocations(t *testing.T) {
	f := startFleet(t, "a")
	f.agents["a"].kill()
	tokens := f.revokeUsers("u", 1000)
	began := time.Now()
	a := f.startAgent("a")
	up := time.Since(began)
	refused := up + eventually(t, 10*time.Second, "the last is refused", func() bool { return a.check(tokens[999]) == 401 })
	for i, raw := range tokens {
		if status := a.check(raw); status != 401 {
			t.Errorf("token %d: %d, want 401", i, status)
		}
	}
	eventually(t, 10*time.Second, "fresh", func() bool {
		status, _ := get(t, a.url+"/readyz?fresh", "")
		return status == 200
	})
	fresh := time.Since(began)
	t.Logf("listening after %s, all 1,000 refused after %s, fresh after %s of starting the process",
		up.Round(time.Millisecond), refused.Round(time.Millisecond), fresh.Round(time.Millisecond))
	if refused > time.Second {
		t.Errorf("refused all after %s, want within a second", refused)
	}
	if fresh > 2500*time.Millisecond {
		t.Errorf("fresh after %s, want within 2.5 s", fresh)
	}
}

// TestKillsAtRandomMomentsLoseNothing kills an agent a hundred times while
// revocations arrive.
func TestKillsAtRandomMomentsLoseNothing(t *testing.T) {
	f := startFleet(t, "a")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var tokens []string
	const kills = 100
	for k := range kills {
		done := make(chan struct{})
		go func() {
			defer close(done)
			tokens = append(tokens, f.revokeUsers(fmt.Sprintf("k%d-", k), 5)...)
		}()
		time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond) // the random moment itself
		f.agents["a"].kill()
		<-done
		f.startAgent("a")
	}
	a := f.agents["a"]
	f.ready(1)
	lost := 0
	for _, raw := range tokens {
		if a.check(raw) != 401 {
			lost++
		}
	}
	t.Logf("%d kills, %d revocations, %d lost", kills, len(tokens), lost)
	if lost > 0 {
		t.Errorf("%d of %d revocations were lost", lost, len(tokens))
	}
}

// TestPausedAgentIsNamedWithinTheTimeout: three agents have seen the same five
// tokens; the count is of tokens, and a paused agent is named.
func TestPausedAgentIsNamedWithinTheTimeout(t *testing.T) {
	f := startFleet(t, "a", "b", "c")
	login := func(user string) {
		for range 5 {
			raw := f.token("--user", user)
			for name, a := range f.agents {
				if status := a.check(raw); status != 200 {
					t.Fatalf("agent %s: %d", name, status)
				}
			}
		}
	}
	es := esClient(t, f.pubURL, f.adminKey)
	login("ann")
	if status, a := invalidate(t, es, `{"username":"ann","realm_name":"demo"}`); status != 200 || a.Invalidated != 5 || a.ErrorCount != 0 {
		t.Errorf("%d %+v, want 5 invalidated", status, a)
	}
	login("bob")
	f.agents["b"].signal(syscall.SIGSTOP)
	began := time.Now()
	status, a := invalidate(t, es, `{"username":"bob","realm_name":"demo"}`)
	took := time.Since(began)
	t.Logf("answered after %s: %+v", took.Round(time.Millisecond), a)
	if status != 200 || a.Invalidated != 5 || a.ErrorCount != 1 || !strings.Contains(fmt.Sprint(a.Details), "e2e/b") {
		t.Errorf("%d %+v, want 5 invalidated and agent e2e/b named", status, a)
	}
	if took > 1500*time.Millisecond {
		t.Errorf("answered after %s, want within the timeout of 1 s", took)
	}
	f.agents["b"].signal(syscall.SIGCONT)
	f.ready(3)
}

// TestAuditConsumerKilledAndRestarted: every event and receipt is once in its
// file, and verify says so; with a line removed or altered it names it.
func TestAuditConsumerKilledAndRestarted(t *testing.T) {
	f := startFleet(t, "a")
	file := f.path("audit.jsonl")
	args := []string{"audit", "export", file, "--follow", "--dir", f.dir, "--nats", f.natsURL}
	reader := start(t, args...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.revokeUsers("u", 1000)
	}()
	lines := func() int {
		b, err := os.ReadFile(file)
		if err != nil {
			return 0
		}
		return strings.Count(string(b), "\n")
	}
	eventually(t, time.Minute, "some lines", func() bool { return lines() > 300 })
	reader.kill()
	start(t, args...)
	<-done
	eventually(t, time.Minute, "every event and receipt", func() bool { return lines() >= 2000 })
	out := rescind(t, "audit", "verify", file, "--dir", f.dir)
	t.Log(out)
	if !strings.Contains(out, "1000 revocations, 0 lifts, 1000 receipts, 0 refusals, 0 rejected, 0 problems") {
		t.Errorf("verify says %s", out)
	}
	all := strings.SplitAfter(readFile(t, file)+"\n", "\n")
	for name, damaged := range map[string]string{
		"removed": strings.Join(append(append([]string{}, all[:700]...), all[701:]...), ""),
		"altered": strings.Join(all[:700], "") + strings.Replace(all[700], `"type":"re`, `"type":"rE`, 1) + strings.Join(all[701:], ""),
	} {
		copied := f.path(name + ".jsonl")
		if err := os.WriteFile(copied, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := rescindCode(t, "audit", "verify", copied, "--dir", f.dir)
		if code != 1 || !strings.Contains(out, "701") {
			t.Errorf("line 701 %s: exit %d, %s; want 1 and the line named", name, code, out)
		}
	}
}

package sidecar_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

func sorted(h events.TokenHashes) events.TokenHashes { return slices.Sorted(slices.Values(h)) }

type status struct {
	events.Status
	StalenessMS   *int64 `json:"staleness_ms"`
	Ready, Synced bool
	Recovered     *string
	Mode          string
}

func (s *site) status() (out status) {
	s.t.Helper()
	got := s.do("GET", "/v1/status", "")
	if err := json.Unmarshal([]byte(got.Body), &out); err != nil || got.Status != 200 {
		s.t.Fatalf("%d %s: %v", got.Status, got.Body, err)
	}
	return out
}

func TestStatusSaysWhatTheAgentKnows(t *testing.T) {
	f := guardtest.Start(t)
	s := serve(t, f, f.Unsynced(t))
	if got := s.status(); got.StalenessMS != nil || got.Ready || got.Synced || got.State != events.Unsynced || got.Mode != "verifying" {
		t.Errorf("unsynced: %+v", got)
	}
	f.Refresh(t, s.agent)
	f.RevokeUser(t, "ann")
	bustest.Eventually(t, "the status has the entry", func() bool { return s.status().Entries == 1 })
	got := s.status()
	if got.StalenessMS == nil || *got.StalenessMS > 60_000 || !got.Ready || !got.Synced || got.State != events.Fresh ||
		got.Recovered == nil || *got.Recovered != "" || got.Agent.Name() != "test/agent" {
		t.Errorf("fresh: %+v", got)
	}
}

func TestReadyOutlivesFreshness(t *testing.T) {
	f := guardtest.Start(t)
	s := serve(t, f, f.Unsynced(t))
	want := func(when string, ready, fresh int) {
		t.Helper()
		bustest.Eventually(t, when, func() bool {
			return s.do("GET", "/readyz", "").Status == ready && s.do("GET", "/readyz?fresh", "").Status == fresh &&
				s.do("GET", "/healthz", "").Status == 200
		})
	}
	want("unsynced", 503, 503)
	f.Refresh(t, s.agent)
	want("fresh", 200, 200)
	f.Owe(t)
	want("stale", 200, 503)
	if got := s.do("GET", "/readyz?fresh", ""); got.Body != "not fresh: stale" || got.Header.Get("Retry-After") != "1" {
		t.Errorf("got %s", got.Body)
	}
}

func TestMetricsCountAndTellTheState(t *testing.T) {
	f := guardtest.Start(t)
	s := serve(t, f, f.Unsynced(t))
	metrics := func() []string { return strings.Split(s.do("GET", "/metrics", "").Body, "\n") }
	has := func(lines []string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !slices.Contains(lines, w) {
				t.Errorf("no line %s", w)
			}
		}
	}
	has(metrics(), "rescind_agent_staleness_seconds +Inf", `rescind_agent_state{state="unsynced"} 1`,
		`rescind_agent_checks_total{result="revoked"} 0`, `rescind_build_info{version="v1.2.3"} 1`, "rescind_agent_ready 0")
	f.Refresh(t, s.agent)
	raw, bob := f.Token(t, realm.TokenRequest{User: "ann"}), f.Token(t, realm.TokenRequest{User: "bob"})
	s.check(bob)
	s.check("abc")
	s.do("GET", "/check", "")
	s.mustObserve(refresh("r", "ann"))
	s.introspect(values("token", "r"))
	s.introspect(values("token", "x"))
	s.introspect("")
	f.RevokeUser(t, "ann")
	bustest.Eventually(t, "the metrics have the entry", func() bool {
		return slices.Contains(metrics(), "rescind_agent_entries 1")
	})
	s.check(raw)
	lines := metrics()
	has(lines, `rescind_agent_checks_total{result="live"} 1`, `rescind_agent_checks_total{result="revoked"} 1`,
		`rescind_agent_checks_total{result="invalid"} 1`, `rescind_agent_checks_total{result="missing"} 1`,
		`rescind_agent_introspections_total{result="active"} 1`, `rescind_agent_introspections_total{result="inactive"} 1`,
		`rescind_agent_introspections_total{result="error"} 1`, "rescind_agent_observed_total 1",
		`rescind_agent_state{state="fresh"} 1`, `rescind_agent_state{state="unsynced"} 0`, "rescind_agent_ready 1",
		"rescind_agent_lag_events 0", "rescind_agent_parked_events 0", "rescind_agent_disk_failing 0")
	for _, prefix := range []string{"rescind_agent_staleness_seconds ", `rescind_agent_position{stream="control"} `,
		"go_goroutines ", "process_open_fds "} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, prefix) && !strings.HasSuffix(l, "Inf") }) {
			t.Errorf("no line %s", prefix)
		}
	}
}

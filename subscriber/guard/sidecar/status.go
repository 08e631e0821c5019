package sidecar

import (
	"net/http"
	"strconv"
	"time"

	"github.com/rescind/rescind/events"
)

// unknownStaleness is what the agent says when it knows nothing for certain.
const unknownStaleness = time.Duration(1<<63 - 1)

// statusJSON is the agent's status with what only the agent itself can tell.
type statusJSON struct {
	events.Status
	// StalenessMS is how old the agent's knowledge is, in milliseconds; null when
	// nothing is known for certain.
	StalenessMS *int64 `json:"staleness_ms"`
	// Ready tells that it was complete at least once, Synced that it has been in
	// this run.
	Ready  bool `json:"ready"`
	Synced bool `json:"synced"`
	// Recovered tells why the stored set could not be used, "" when it could.
	Recovered string `json:"recovered"`
	Mode      string `json:"mode"`
}

func (s *Sidecar) status(w http.ResponseWriter, _ *http.Request) {
	out := statusJSON{Status: s.cfg.Agent.Status(), Ready: s.cfg.Agent.Ready(), Recovered: s.cfg.Agent.Recovered(), Mode: s.mode()}
	if d := s.cfg.Agent.Staleness(); d != unknownStaleness {
		ms := d.Milliseconds()
		out.StalenessMS = &ms
	}
	select {
	case <-s.cfg.Agent.Synced():
		out.Synced = true
	default:
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, out)
}

// health tells that the process serves.
func (s *Sidecar) health(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok")
}

// ready tells whether the agent holds a set that was complete once: NATS being
// away must not take every service out of its load balancer. ?fresh asks for more.
func (s *Sidecar) ready(w http.ResponseWriter, r *http.Request) {
	state := s.cfg.Agent.State()
	switch {
	case !s.cfg.Agent.Ready():
		writeText(w, http.StatusServiceUnavailable, "not ready: "+string(state))
	case r.URL.Query().Has("fresh") && state != events.Fresh:
		writeText(w, http.StatusServiceUnavailable, "not fresh: "+string(state))
	default:
		writeText(w, http.StatusOK, "ready: "+string(state))
	}
}

func writeText(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // an error means that the caller is gone
}

package sidecar

import (
	"errors"
	"net/http"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

// revocationStatus is what X-Revocation-Status says.
type revocationStatus string

const (
	statusLive    revocationStatus = "live"
	statusRevoked revocationStatus = "revoked"
	statusUnknown revocationStatus = "unknown"
	statusStale   revocationStatus = "stale"
)

// Values of headers that all answers of /check share: a proxy asks at every
// request of the service behind it.
var (
	noStore       = []string{"no-store"}
	statusHeaders = map[revocationStatus][]string{statusLive: {string(statusLive)}, statusRevoked: {string(statusRevoked)},
		statusUnknown: {string(statusUnknown)}, statusStale: {string(statusStale)}}
)

// check answers proxies. A body is ignored.
func (s *sidecar) check(w http.ResponseWriter, r *http.Request) {
	admitted, err := s.guard.Admit(r.Context(), r.Header["Authorization"])
	s.metrics.checks[resultOf(admitted, err)].Inc()
	h := w.Header()
	h["X-Revocation-Status"] = statusHeaders[s.revocationStatus(admitted, err)]
	if err == nil {
		h["Cache-Control"] = noStore
		w.WriteHeader(http.StatusOK) // proxies differ on any other 2xx
		return
	}
	refusal := guard.RefusalOf(err)
	if refusal.Status == http.StatusBadRequest {
		refusal.Status = http.StatusUnauthorized // nginx makes a 500 of a 400
	}
	refusal.Write(w, s.challengeRealm())
}

func (s *sidecar) revocationStatus(admitted *guard.Admitted, err error) revocationStatus {
	switch {
	case err == nil && admitted.Token != nil:
	case errors.Is(err, subscriber.ErrRevoked):
		return statusRevoked
	case errors.Is(err, subscriber.ErrStale):
		return statusStale
	default:
		return statusUnknown
	}
	switch s.Agent.State() {
	case events.Fresh:
		return statusLive
	case events.Unsynced, events.Rebuilding:
		return statusUnknown // AllowUnsynced let it pass
	default:
		return statusStale
	}
}

// results are the values of the metric's label.
var results = []string{"live", "anonymous", "revoked", "missing", "malformed_request", "invalid", "forbidden",
	"unavailable", "stale", "not_ready"}

func resultOf(admitted *guard.Admitted, err error) string {
	switch {
	case err == nil && admitted.Token == nil:
		return "anonymous"
	case err == nil:
		return "live"
	case errors.Is(err, guard.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, subscriber.ErrNotReady):
		return "not_ready"
	case errors.Is(err, subscriber.ErrStale):
		return "stale"
	case errors.Is(err, subscriber.ErrRevoked):
		return "revoked"
	case errors.Is(err, guard.ErrForbidden):
		return "forbidden"
	case errors.Is(err, guard.ErrNoToken):
		return "missing"
	case errors.Is(err, guard.ErrBadRequest):
		return "malformed_request"
	default:
		return "invalid"
	}
}

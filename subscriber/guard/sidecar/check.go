package sidecar

import (
	"context"
	"errors"
	"net/http"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

// RevocationStatus is what X-Revocation-Status says.
type RevocationStatus string

const (
	// StatusLive is for a token that a fresh agent lets pass.
	StatusLive RevocationStatus = "live"
	// StatusRevoked is for a token that was revoked.
	StatusRevoked RevocationStatus = "revoked"
	// StatusStale says that the verdict, or its absence, rests on old knowledge.
	StatusStale RevocationStatus = "stale"
	// StatusUnknown says that nothing is known of a token, or that there is none.
	StatusUnknown RevocationStatus = "unknown"
)

// RevocationStatuses are all of them.
var RevocationStatuses = []RevocationStatus{StatusLive, StatusRevoked, StatusStale, StatusUnknown}

// HeaderStatus is the header that tells services behind a proxy the
// RevocationStatus. It is in every answer, so that no client can slip its own past a
// proxy that copies it.
const HeaderStatus = "X-Revocation-Status"

// Verdict is what the sidecar says about one request.
type Verdict struct {
	// Admitted tells that the request may pass; Refusal is the answer if not. Its
	// status is 401, 403 or 503.
	Admitted bool
	Refusal  guard.Refusal
	Status   RevocationStatus
}

// Values of headers that all answers of /check share: a proxy asks at every
// request of the service behind it.
var (
	noStore       = []string{"no-store"}
	statusHeaders = map[RevocationStatus][]string{}
)

func init() {
	for _, s := range RevocationStatuses {
		statusHeaders[s] = []string{string(s)}
	}
}

// check answers proxies. A body is ignored.
func (s *Sidecar) check(w http.ResponseWriter, r *http.Request) {
	v := s.Decide(r.Context(), s.originalMethod(r), r.Header)
	h := w.Header()
	h[HeaderStatus] = statusHeaders[v.Status]
	if v.Admitted {
		h["Cache-Control"] = noStore
		w.WriteHeader(http.StatusOK) // proxies differ on any other 2xx
		return
	}
	v.Refusal.Write(w, s.guard.Realm())
}

// Decide decides on a request of the method with the headers h, whose keys are in
// canonical form: for doors in other protocols than that of /check. The method counts
// only where preflight requests may pass. It is safe for concurrent use, and blocks no
// longer than it takes to get a realm's keys.
func (s *Sidecar) Decide(ctx context.Context, method string, h http.Header) Verdict {
	if s.cfg.PreflightFrom != "" && guard.IsPreflight(method, h) {
		s.metrics.checks["preflight"].Inc()
		return Verdict{Admitted: true, Status: StatusUnknown}
	}
	admitted, err := s.guard.Admit(ctx, h["Authorization"])
	s.metrics.checks[resultOf(admitted, err)].Inc()
	v := Verdict{Admitted: err == nil, Status: revocationStatus(admitted, err)}
	if err != nil {
		v.Refusal = guard.RefusalOf(err)
		if v.Refusal.Status == http.StatusBadRequest {
			v.Refusal.Status = http.StatusUnauthorized // nginx makes a 500 of a 400
		}
	}
	return v
}

// originalMethod is that of the request that a proxy asks about; "" where the proxy
// does not say it as configured.
func (s *Sidecar) originalMethod(r *http.Request) string {
	if s.cfg.PreflightFrom == PreflightFromMethod {
		return r.Method
	}
	if said := r.Header.Values(s.cfg.PreflightFrom); len(said) == 1 {
		return said[0]
	}
	return ""
}

func revocationStatus(admitted guard.Admitted, err error) RevocationStatus {
	switch {
	case err == nil && admitted.Token != nil:
	case errors.Is(err, subscriber.ErrRevoked):
		return StatusRevoked
	case errors.Is(err, subscriber.ErrStale):
		return StatusStale
	default:
		return StatusUnknown
	}
	switch admitted.State {
	case events.Fresh:
		return StatusLive
	case events.Unsynced, events.Rebuilding:
		return StatusUnknown // AllowUnsynced let it pass
	default:
		return StatusStale
	}
}

// results are the values of the metric's label.
var results = []string{"live", "anonymous", "preflight", "revoked", "missing", "malformed_request", "invalid", "forbidden",
	"unavailable", "stale", "not_ready"}

func resultOf(admitted guard.Admitted, err error) string {
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

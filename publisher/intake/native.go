package intake

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// nativeDoor is rescind's own API.
type nativeDoor struct{ s *Server }

const (
	nativeBodyLimit = 1 << 20
	nativeTimeout   = time.Second
	// maxTimeout is the longest that a caller may have its answer wait.
	maxTimeout = 30 * time.Second
	// maxKey is the longest Idempotency-Key, in bytes.
	maxKey = 255
)

func (nativeDoor) name() string { return "native" }

func (nativeDoor) begin(http.Header) {}

func (d nativeDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.s.failProblem(w, r, d, err)
}

// revoke is POST /v1/revocations.
func (d nativeDoor) revoke(w http.ResponseWriter, r *http.Request) error {
	c, err := d.s.authenticate(r)
	if err != nil {
		return err
	}
	read, names := d.body, []string{"dry_run"}
	if isLines(r.Header) {
		read, names = d.lines, append(names, "reason")
	}
	o, err := orderOf(r, c, names...)
	if err != nil {
		return err
	}
	got, err := read(w, r, c, o)
	if err != nil {
		return err
	}
	o.Target = got.target
	if dry, err := isDryRun(r); dry || err != nil {
		if err != nil {
			return err
		}
		return d.dryRun(w, r, c, o, got)
	}
	res, err := d.s.revoke(r.Context(), d, c, *o, got.realms)
	return d.answer(w, http.StatusCreated, res, err, o, got.expired)
}

// body reads one JSON object, and what it says of the order.
func (d nativeDoor) body(w http.ResponseWriter, r *http.Request, c *Caller, o *publisher.Order) (*resolved, error) {
	if !isJSON(r.Header) {
		return nil, fmt.Errorf("%w: Content-Type must be application/json, or application/x-ndjson for a list", errMediaType)
	}
	body, err := readBody(w, r, nativeBodyLimit, false)
	if err != nil {
		return nil, err
	}
	req, err := parseNative(body)
	if err != nil {
		return nil, err
	}
	o.Reason, o.NotBefore = req.reason, req.notBefore
	return d.resolve(r.Context(), c, req)
}

// lift is DELETE /v1/revocations/{id}: it takes an event, or all events of a
// request, away again.
func (d nativeDoor) lift(w http.ResponseWriter, r *http.Request) error {
	c, err := d.s.authenticate(r)
	if err != nil {
		return err
	}
	o, err := orderOf(r, c)
	if err != nil {
		return err
	}
	id, err := events.ParseEventID(r.PathValue("id"))
	if err != nil {
		return publisher.ErrNotFound
	}
	// What is not known here as a request may be one event of one: only a caller
	// who may lift in every realm may name that.
	var realms []string
	if rec, _, err := d.s.pub.Revocation(id); err == nil {
		realms = recordRealms(rec)
	} else if !errors.Is(err, publisher.ErrNotFound) {
		return err
	}
	o.Target = publisher.Target{Kind: events.KindLift, Lifted: id}
	res, err := d.s.revoke(r.Context(), d, c, *o, realms)
	return d.answer(w, http.StatusOK, res, err, o, 0)
}

// orderOf reads what the query string and the headers say of an order. A token
// in the query string, where proxies log it, is an unknown parameter.
//
// names are further parameters that it may have: reason is one where no body says it.
func orderOf(r *http.Request, c *Caller, names ...string) (*publisher.Order, error) {
	q, err := parameters(r, append([]string{"wait", "timeout"}, names...)...)
	if err != nil {
		return nil, err
	}
	o := &publisher.Order{Wait: publisher.WaitAll, Timeout: nativeTimeout, Reason: q.Get("reason")}
	if q.Has("wait") {
		if o.Wait, err = publisher.ParseWait(q.Get("wait")); err != nil {
			return nil, fmt.Errorf("%w: %w", errMalformed, err)
		}
	}
	if q.Has("timeout") {
		o.Timeout, err = time.ParseDuration(q.Get("timeout"))
		if err != nil || o.Timeout < 0 || o.Timeout > maxTimeout {
			return nil, fmt.Errorf("%w: timeout must be a duration of at most %v, such as 500ms or 2s", errMalformed, maxTimeout)
		}
	}
	key, err := idempotencyKey(r)
	if key != "" {
		o.Key = "native " + strconv.Quote(c.Name) + " " + key
	}
	return o, err
}

// idempotencyKey reads the header of that name. Keys are the caller's own: the
// order's has its name in front.
func idempotencyKey(r *http.Request) (string, error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return "", nil
	}
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > maxKey {
		return "", fmt.Errorf("%w: Idempotency-Key must be one of 1 to %d bytes", errMalformed, maxKey)
	}
	return keys[0], nil
}

// parameters reads the query string, refusing those not named and repeated ones.
func parameters(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: the query string cannot be read", errMalformed)
	}
	for name, values := range q {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%w: unknown parameter %q: there are %s", errMalformed, name, strings.Join(names, ", "))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("%w: parameter %s is given twice", errMalformed, name)
		}
	}
	return q, nil
}

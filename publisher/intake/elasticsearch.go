package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// elasticDoor is Elasticsearch's invalidate-token API: a client written for that
// must not notice the difference.
type elasticDoor struct{ s *Server }

const (
	elasticBodyLimit = 64 << 10
	elasticTimeout   = time.Second
)

// elasticProduct is what official clients look for on every answer; without it
// they raise an error after the server has acted.
const elasticProduct = "X-Elastic-Product"

func (elasticDoor) name() string { return "elasticsearch" }

func (elasticDoor) begin(h http.Header) { h.Set(elasticProduct, "Elasticsearch") }

// elasticAnswer has the members of Elasticsearch's answer in its order.
type elasticAnswer struct {
	Invalidated int            `json:"invalidated_tokens"`
	Previously  int            `json:"previously_invalidated_tokens"`
	ErrorCount  int            `json:"error_count"`
	Errors      []elasticCause `json:"error_details,omitempty"`
}

// invalidate is DELETE /_security/oauth2/token. Elasticsearch authenticates
// first, then reads and validates, and authorises last.
func (d elasticDoor) invalidate(w http.ResponseWriter, r *http.Request) error {
	c, err := d.s.authenticate(r)
	if err != nil {
		return err
	}
	if err := checkElasticParameters(r); err != nil {
		return err
	}
	req, err := d.read(w, r)
	if err != nil {
		return err
	}
	target, realms, err := d.target(r, c, req)
	switch {
	case errors.Is(err, errUnknownToken), errors.Is(err, errExpiredToken):
		d.s.refused(r.Context(), d, err)
		d.write(w, r, http.StatusNotFound, elasticAnswer{})
		return nil
	case err != nil:
		return err
	}
	if !d.exists(&target) {
		visitOf(r.Context()).about(&target, realms)
		if err := authorise(c, &target, realms); err != nil {
			return err
		}
		d.write(w, r, http.StatusOK, elasticAnswer{})
		return nil
	}
	res, err := d.s.revoke(r.Context(), d, c, publisher.Order{Target: target, Wait: publisher.WaitAll, Timeout: elasticTimeout}, realms)
	if err != nil {
		return err
	}
	d.write(w, r, http.StatusOK, elasticCounts(&target, &res.Outcome))
	return nil
}

// exists tells whether the target can match anything. A realm that is not there
// matches nothing, like a name of blanks, which is not the same as no name.
func (d elasticDoor) exists(t *publisher.Target) bool {
	_, known := d.s.realms.Get(t.Realm)
	return known || t.Realm == ""
}

func (d elasticDoor) read(w http.ResponseWriter, r *http.Request) (*elasticRequest, error) {
	if err := checkElasticType(r.Header); err != nil {
		return nil, err
	}
	body, err := readBody(w, r, elasticBodyLimit, true)
	if err != nil {
		return nil, err
	}
	return parseElastic(body)
}

// target is what a valid request is aimed at, and the realms that it touches.
func (d elasticDoor) target(r *http.Request, c *Caller, req *elasticRequest) (publisher.Target, []string, error) {
	switch {
	case req.user != "" && req.realm != "":
		return publisher.Target{Kind: events.KindUser, Realm: req.realm, Value: req.user}, []string{req.realm}, nil
	case req.user != "":
		return publisher.Target{Kind: events.KindUser, Value: req.user}, nil, nil
	case req.realm != "":
		return publisher.Target{Kind: events.KindRealm, Realm: req.realm}, []string{req.realm}, nil
	}
	if err := mayTry(c, events.KindToken); err != nil {
		return publisher.Target{}, nil, err
	}
	var t publisher.Token
	var realms []string
	var err error
	if req.token != "" {
		t, err = d.s.accessToken(r.Context(), req.token)
		realms = []string{t.Realm}
	} else {
		t, realms, err = d.s.refreshToken(r.Context(), c, req.refresh)
	}
	return publisher.Target{Kind: events.KindToken, Realm: t.Realm, Tokens: []publisher.Token{t}}, realms, err
}

// elasticCounts makes an outcome into counts and errors. Elasticsearch looks for
// a user's or a realm's live tokens only, so when it finds none it has none to
// call invalidated before.
func elasticCounts(t *publisher.Target, o *events.Outcome) elasticAnswer {
	a := elasticAnswer{Invalidated: o.Invalidated, Previously: o.Previously}
	if t.Kind != events.KindToken && a.Invalidated == 0 {
		a.Previously = 0
	}
	for _, e := range o.Errors {
		who := e.Agent
		if who == "" {
			who = "the fleet"
		}
		a.Errors = append(a.Errors, elasticCause{Type: "exception",
			Reason:   fmt.Sprintf("%s has not confirmed the invalidation", who),
			CausedBy: &elasticCause{Type: e.Type, Reason: e.Reason}})
	}
	for _, agent := range o.CountsMissing {
		a.Errors = append(a.Errors, elasticCause{Type: "exception",
			Reason:   fmt.Sprintf("%s has confirmed the invalidation, but its counts are missing", agent),
			CausedBy: &elasticCause{Type: "counts_missing", Reason: "its report was lost"}})
	}
	a.ErrorCount = len(a.Errors)
	return a
}

// write answers in the media type that was asked for, in one line unless pretty.
func (d elasticDoor) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	writeElastic(w, r, status, v, isPretty(r, false))
}

func writeElastic(w http.ResponseWriter, r *http.Request, status int, v any, pretty bool) {
	b, err := encodeJSON(v)
	if err != nil {
		panic("intake: an answer cannot be encoded: " + err.Error())
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	if pretty {
		var out bytes.Buffer
		if json.Indent(&out, b, "", "  ") == nil {
			b = append(out.Bytes(), '\n')
		}
	}
	writeBody(w, elasticType(r.Header), status, b)
}

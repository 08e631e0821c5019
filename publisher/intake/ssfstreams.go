package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rescind/rescind/publisher/transmit"
)

// streamDoor is where receivers outside of the fleet manage their streams (SSF 1.0
// sections 7 and 8) and poll them (RFC 8936).
type streamDoor struct {
	s *Server
	t *transmit.Transmitter
}

const (
	streamPath  = "/ssf/stream"
	statusPath  = "/ssf/status"
	verifyPath  = "/ssf/verify"
	pollPath    = "/ssf/poll/"
	ssfKeysPath = "/ssf/jwks.json"
	ssfLimit    = 64 << 10
	// pollLimit bounds a poll: it may acknowledge as many events as it may be given.
	pollLimit = 1 << 20
)

func (streamDoor) name() string { return "ssf_streams" }

func (streamDoor) begin(h http.Header) { h.Set("Cache-Control", "no-store") }

func (d streamDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.s.failProblem(w, r, d, err)
}

func (d streamDoor) routes() {
	add := func(path string, m methods) { d.s.add(path, d, m) }
	for _, path := range wellKnown("ssf-configuration", d.s.pub.Issuer()) {
		add(path, methods{http.MethodGet: d.configuration})
	}
	add(ssfKeysPath, methods{http.MethodGet: d.jwks})
	add(streamPath, methods{http.MethodPost: d.create, http.MethodGet: d.show, http.MethodPatch: d.change(false),
		http.MethodPut: d.change(true), http.MethodDelete: d.remove})
	add(statusPath, methods{http.MethodGet: d.status, http.MethodPost: d.setStatus})
	add(verifyPath, methods{http.MethodPost: d.verify})
	add(pollPath+"{id}", methods{http.MethodPost: d.poll})
}

// transmitterConfiguration is the document of SSF 1.0 section 7.1.
type transmitterConfiguration struct {
	Version      string              `json:"spec_version"`
	Issuer       string              `json:"issuer"`
	JWKS         string              `json:"jwks_uri"`
	Methods      []string            `json:"delivery_methods_supported"`
	Stream       string              `json:"configuration_endpoint"`
	Status       string              `json:"status_endpoint"`
	Verification string              `json:"verification_endpoint"`
	Schemes      []map[string]string `json:"authorization_schemes"`
	Subjects     string              `json:"default_subjects"`
}

func (d streamDoor) configuration(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, "application/json", http.StatusOK, transmitterConfiguration{Version: "1_0", Issuer: d.s.pub.Issuer(),
		JWKS: d.s.endpoint(ssfKeysPath), Methods: []string{transmit.Push, transmit.Poll}, Stream: d.s.endpoint(streamPath),
		Status: d.s.endpoint(statusPath), Verification: d.s.endpoint(verifyPath),
		Schemes: []map[string]string{{"spec_urn": "urn:ietf:rfc:6749"}}, Subjects: "ALL"})
	return nil
}

func (d streamDoor) jwks(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, "application/jwk-set+json", http.StatusOK, d.t.Key().JWKS())
	return nil
}

// streamBody is a stream as receivers see it (SSF 1.0 section 8.1.1).
type streamBody struct {
	ID          string        `json:"stream_id"`
	Issuer      string        `json:"iss"`
	Audience    string        `json:"aud"`
	Supported   []string      `json:"events_supported"`
	Requested   []string      `json:"events_requested,omitempty"`
	Delivered   []string      `json:"events_delivered"`
	Delivery    *deliveryBody `json:"delivery"`
	MinVerify   int           `json:"min_verification_interval"`
	Description string        `json:"description,omitempty"`
}

// deliveryBody never tells the authorization_header that it was given.
type deliveryBody struct {
	Method        string `json:"method"`
	Endpoint      string `json:"endpoint_url,omitempty"`
	Authorization string `json:"authorization_header,omitempty"`
}

func (d streamDoor) body(s *transmit.Stream) streamBody {
	delivery := &deliveryBody{Method: s.Method, Endpoint: s.Endpoint}
	if s.Method == transmit.Poll {
		delivery.Endpoint = d.s.endpoint(pollPath + s.ID)
	}
	return streamBody{s.ID, d.s.pub.Issuer(), s.Audience, transmit.Supported(), s.Requested, s.Delivered(), delivery,
		transmit.MinVerification(), s.Description}
}

// streamRequest is what a receiver may say of a stream. What the transmitter supplies
// may stand there and must be right (SSF 1.0 sections 8.1.1.3 and 8.1.1.4).
type streamRequest struct {
	ID          *string          `json:"stream_id"`
	Issuer      *string          `json:"iss"`
	Audience    *json.RawMessage `json:"aud"`
	Supported   *[]string        `json:"events_supported"`
	Delivered   *[]string        `json:"events_delivered"`
	MinVerify   *int             `json:"min_verification_interval"`
	Requested   *[]string        `json:"events_requested"`
	Delivery    *deliveryBody    `json:"delivery"`
	Description *string          `json:"description"`
}

// create is POST /ssf/stream.
func (d streamDoor) create(w http.ResponseWriter, r *http.Request) error {
	c, err := d.caller(r, SSFManage)
	if err != nil {
		return err
	}
	var q streamRequest
	if err := readJSONBody(w, r, ssfLimit, &q); err != nil {
		return err
	}
	s := &transmit.Stream{Owner: c.Name, Realms: c.Realms, Audience: c.Name, Method: transmit.Poll, Status: transmit.Enabled}
	if err := d.apply(s, &q, true); err != nil {
		return err
	}
	if err := d.t.Create(r.Context(), s); err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusCreated, d.body(s))
	return nil
}

// apply puts what the receiver says into the stream; whole means that what it does
// not say is taken away.
func (d streamDoor) apply(s *transmit.Stream, q *streamRequest, whole bool) error {
	if err := d.checkSupplied(s, q); err != nil {
		return err
	}
	if q.Requested != nil || whole {
		s.Requested = valueOf(q.Requested)
	}
	if q.Description != nil || whole {
		s.Description = valueOf(q.Description)
	}
	switch {
	case q.Delivery != nil:
		s.Method, s.Endpoint, s.Authorization = q.Delivery.Method, q.Delivery.Endpoint, q.Delivery.Authorization
		if s.Method == transmit.Poll && s.Endpoint == d.s.endpoint(pollPath+s.ID) {
			s.Endpoint = "" // as it was told
		}
	case whole:
		s.Method, s.Endpoint, s.Authorization = transmit.Poll, "", ""
	}
	return nil
}

func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// checkSupplied refuses what the transmitter supplies where it is not what it is.
func (d streamDoor) checkSupplied(s *transmit.Stream, q *streamRequest) error {
	if s.ID == "" {
		return nil // there is nothing yet that it could differ from
	}
	is := d.body(s)
	aud, err := json.Marshal(s.Audience)
	switch {
	case err != nil:
		return err
	case q.Issuer != nil && *q.Issuer != is.Issuer:
		return fmt.Errorf("%w: iss is not that of the stream", errMalformed)
	case q.Audience != nil && string(*q.Audience) != string(aud):
		return fmt.Errorf("%w: aud is not that of the stream", errMalformed)
	case q.Supported != nil && !slices.Equal(*q.Supported, is.Supported):
		return fmt.Errorf("%w: events_supported is not that of the stream", errMalformed)
	case q.Delivered != nil && !slices.Equal(*q.Delivered, is.Delivered):
		return fmt.Errorf("%w: events_delivered is not that of the stream", errMalformed)
	case q.MinVerify != nil && *q.MinVerify != is.MinVerify:
		return fmt.Errorf("%w: min_verification_interval is not that of the stream", errMalformed)
	}
	return nil
}

// show is GET /ssf/stream: one, or all that the caller has made.
func (d streamDoor) show(w http.ResponseWriter, r *http.Request) error {
	c, err := d.caller(r, SSFRead)
	if err != nil {
		return err
	}
	q, err := parameters(r, "stream_id")
	if err != nil {
		return err
	}
	if q.Has("stream_id") {
		s, err := d.find(r, c, q.Get("stream_id"))
		if err != nil {
			return err
		}
		writeJSON(w, "application/json", http.StatusOK, d.body(s))
		return nil
	}
	all, err := d.t.Streams(r.Context())
	if err != nil {
		return err
	}
	bodies := []streamBody{}
	for _, s := range all {
		if mayUse(c, s) {
			bodies = append(bodies, d.body(s))
		}
	}
	writeJSON(w, "application/json", http.StatusOK, bodies)
	return nil
}

// change is PATCH and PUT /ssf/stream.
func (d streamDoor) change(whole bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var q streamRequest
		s, err := d.asked(w, r, SSFManage, ssfLimit, &q, func() string { return valueOf(q.ID) })
		if err != nil {
			return err
		}
		if err := d.apply(s, &q, whole); err != nil {
			return err
		}
		if err := d.t.Update(r.Context(), s); err != nil {
			return err
		}
		writeJSON(w, "application/json", http.StatusOK, d.body(s))
		return nil
	}
}

// remove is DELETE /ssf/stream.
func (d streamDoor) remove(w http.ResponseWriter, r *http.Request) error {
	s, err := d.named(r, SSFManage)
	if err != nil {
		return err
	}
	if err := d.t.Delete(r.Context(), s.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// named authenticates the caller and finds the stream of the query string.
func (d streamDoor) named(r *http.Request, right SSFRight) (*transmit.Stream, error) {
	c, err := d.caller(r, right)
	if err != nil {
		return nil, err
	}
	q, err := parameters(r, "stream_id")
	if err != nil {
		return nil, err
	}
	return d.find(r, c, q.Get("stream_id"))
}

// statusBody is SSF 1.0 section 8.1.2.
type statusBody struct {
	ID     string          `json:"stream_id"`
	Status transmit.Status `json:"status"`
	Reason string          `json:"reason,omitempty"`
}

func (d streamDoor) status(w http.ResponseWriter, r *http.Request) error {
	s, err := d.named(r, SSFRead)
	if err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, statusBody{s.ID, s.Status, s.Reason})
	return nil
}

// setStatus is POST /ssf/status.
func (d streamDoor) setStatus(w http.ResponseWriter, r *http.Request) error {
	var q statusBody
	s, err := d.asked(w, r, SSFManage, ssfLimit, &q, func() string { return q.ID })
	if err != nil {
		return err
	}
	s.Status, s.Reason = q.Status, q.Reason
	if err := d.t.Update(r.Context(), s); err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, statusBody{s.ID, s.Status, s.Reason})
	return nil
}

// maxState is the longest state of a verification, in bytes.
const maxState = 1024

// verify is POST /ssf/verify.
func (d streamDoor) verify(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		ID    string `json:"stream_id"`
		State string `json:"state"`
	}
	s, err := d.asked(w, r, SSFManage, ssfLimit, &q, func() string { return q.ID })
	if err != nil {
		return err
	}
	if len(q.State) > maxState {
		return fmt.Errorf("%w: state is longer than %d bytes", errMalformed, maxState)
	}
	if err := d.t.Verify(r.Context(), s, q.State); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// pollBody is RFC 8936 section 2.2.
type pollBody struct {
	MaxEvents *int                  `json:"maxEvents"`
	AtOnce    bool                  `json:"returnImmediately"`
	Ack       []string              `json:"ack"`
	Errors    map[string]setProblem `json:"setErrs"`
}

// poll is POST /ssf/poll/{id}.
func (d streamDoor) poll(w http.ResponseWriter, r *http.Request) error {
	var q pollBody
	s, err := d.asked(w, r, SSFRead, pollLimit, &q, func() string { return r.PathValue("id") })
	if err != nil {
		return err
	}
	if s.Method != transmit.Poll {
		return fmt.Errorf("%w: the stream is pushed", errMalformed)
	}
	p := transmit.PollRequest{Ack: q.Ack, MaxEvents: -1, AtOnce: q.AtOnce, Errors: map[string]transmit.Refusal{}}
	if q.MaxEvents != nil {
		if p.MaxEvents = *q.MaxEvents; p.MaxEvents < 0 {
			return fmt.Errorf("%w: maxEvents is negative", errMalformed)
		}
	}
	for jti, e := range q.Errors {
		p.Errors[jti] = transmit.Refusal{Code: e.Err, Description: e.Description}
	}
	a, err := d.t.Poll(r.Context(), s, p)
	switch {
	case r.Context().Err() != nil:
		return nil // whoever polled has gone: what it would have been given comes again
	case err != nil:
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, struct {
		Sets map[string]string `json:"sets"`
		More bool              `json:"moreAvailable,omitempty"`
	}{a.Sets, a.More})
	return nil
}

// caller authenticates one who may have streams: whoever may see what was revoked,
// and receivers, who may do nothing else.
func (d streamDoor) caller(r *http.Request, right SSFRight) (*Caller, error) {
	c, err := d.s.authenticate(r)
	if err != nil {
		return nil, err
	}
	if c.SSF >= right || mayRead(c) == nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: this caller may not receive events", ErrForbidden)
}

// asked authenticates the caller, reads its body, and finds the stream that it means.
func (d streamDoor) asked(w http.ResponseWriter, r *http.Request, right SSFRight, limit int64, into any, id func() string) (*transmit.Stream, error) {
	c, err := d.caller(r, right)
	if err != nil {
		return nil, err
	}
	if err := readJSONBody(w, r, limit, into); err != nil {
		return nil, err
	}
	return d.find(r, c, id())
}

// mayUse tells whether the stream is the caller's. The admin may look at all.
func mayUse(c *Caller, s *transmit.Stream) bool { return s.Owner == c.Name || c.Admin }

func (d streamDoor) find(r *http.Request, c *Caller, id string) (*transmit.Stream, error) {
	if id == "" {
		return nil, fmt.Errorf("%w: stream_id is missing", errMalformed)
	}
	s, err := d.t.Stream(r.Context(), id)
	if err == nil && !mayUse(c, s) {
		return nil, transmit.ErrNotFound
	}
	return s, err
}

// readJSONBody reads one JSON object, in which no name of the outermost stands twice.
// What is unknown is ignored (SSF 1.0 section 4.2).
func readJSONBody(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	if !isJSON(r.Header) {
		return fmt.Errorf("%w: Content-Type must be application/json", errMediaType)
	}
	body, err := readBody(w, r, limit, false)
	if err != nil {
		return err
	}
	if _, err := readObject(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("%w: %s has the wrong type", errMalformed, t.Field)
		}
		return fmt.Errorf("%w: not what is expected", errMalformed)
	}
	return nil
}

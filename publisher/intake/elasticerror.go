package intake

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/rescind/rescind/internal/realm"
)

const (
	parseException    = "x_content_parse_exception"
	securityException = "security_exception"
)

// elasticCause is an exception as Elasticsearch renders it.
type elasticCause struct {
	Type     string         `json:"type"`
	Reason   string         `json:"reason"`
	CausedBy *elasticCause  `json:"caused_by,omitempty"`
	Header   *elasticHeader `json:"header,omitempty"`
}

type elasticHeader struct {
	Authenticate []string `json:"WWW-Authenticate"`
}

// elasticError is an error in Elasticsearch's envelope.
type elasticError struct {
	status int
	cause  elasticCause
}

func (e *elasticError) Error() string { return e.cause.Type + ": " + e.cause.Reason }

// elasticNote is an error that Elasticsearch gives as a bare text.
type elasticNote struct {
	status int
	text   string
}

func (e *elasticNote) Error() string { return e.text }

// elasticInvalid is a request that does not make sense, with all that is wrong.
func elasticInvalid(errs ...string) error {
	var b strings.Builder
	b.WriteString("Validation Failed: ")
	for i, e := range errs {
		fmt.Fprintf(&b, "%d: %s;", i+1, e)
	}
	return &elasticError{http.StatusBadRequest, elasticCause{Type: "action_request_validation_exception", Reason: b.String()}}
}

// fail answers in Elasticsearch's envelope, whose root causes have neither cause
// nor more.
func (d elasticDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	if note, ok := d.note(r, err); ok {
		d.write(w, r, note.status, struct {
			Error  string `json:"error"`
			Status int    `json:"status"`
		}{note.text, note.status})
		return
	}
	e := d.envelope(w, r, err)
	type body struct {
		RootCause []elasticCause `json:"root_cause"`
		elasticCause
	}
	root := e.cause
	root.CausedBy = nil
	d.write(w, r, e.status, struct {
		Error  body `json:"error"`
		Status int  `json:"status"`
	}{body{[]elasticCause{root}, e.cause}, e.status})
}

// note gives the errors that Elasticsearch does not put into its envelope.
func (d elasticDoor) note(r *http.Request, err error) (*elasticNote, bool) {
	if m, ok := errors.AsType[*methodError](err); ok {
		return &elasticNote{http.StatusMethodNotAllowed, fmt.Sprintf("Incorrect HTTP method for uri [%s] and method [%s], allowed: [%s]",
			r.URL.Path, m.method, strings.Join(m.allowed, ", "))}, true
	}
	return errors.AsType[*elasticNote](err)
}

// envelope puts the errors that all doors share into Elasticsearch's words.
func (d elasticDoor) envelope(w http.ResponseWriter, r *http.Request, err error) *elasticError {
	if e, ok := errors.AsType[*elasticError](err); ok {
		return e
	}
	c := d.s.explain(w, r, d, err)
	switch c.status {
	case http.StatusUnauthorized:
		return d.unauthorized(w, r, err)
	case http.StatusForbidden:
		return &elasticError{c.status, elasticCause{Type: securityException,
			Reason: "action [cluster:admin/xpack/security/token/invalidate] is unauthorized: " + c.detail}}
	case http.StatusServiceUnavailable:
		return &elasticError{c.status, elasticCause{Type: securityException, Reason: "unable to perform requested action"}}
	case http.StatusUnprocessableEntity, http.StatusConflict:
		return &elasticError{http.StatusBadRequest, elasticCause{Type: "illegal_argument_exception", Reason: c.detail}}
	case http.StatusBadRequest:
		return &elasticError{c.status, elasticCause{Type: parseException, Reason: c.detail}}
	case http.StatusTooManyRequests:
		return &elasticError{c.status, elasticCause{Type: "es_rejected_execution_exception", Reason: c.detail}}
	case http.StatusInternalServerError:
		return &elasticError{c.status, elasticCause{Type: "exception", Reason: "internal error"}}
	}
	return &elasticError{c.status, elasticCause{Type: "status_exception", Reason: c.detail}}
}

// unauthorized names every scheme that Elasticsearch takes, in its order.
func (d elasticDoor) unauthorized(w http.ResponseWriter, r *http.Request, err error) *elasticError {
	header := []string{`Basic realm="security", charset="UTF-8"`, `Bearer realm="security"`, "ApiKey"}
	reason := fmt.Sprintf("missing authentication credentials for REST request [%s]", r.URL.Path)
	if errors.Is(err, ErrBadCredentials) {
		reason = fmt.Sprintf("unable to authenticate with provided credentials for REST request [%s]", r.URL.Path)
	}
	if errors.Is(err, realm.ErrExpired) {
		reason = "token expired"
		header = []string{`Bearer realm="security", error="invalid_token", error_description="The access token expired"`}
	}
	for _, value := range header {
		w.Header().Add("WWW-Authenticate", value)
	}
	return &elasticError{http.StatusUnauthorized,
		elasticCause{Type: securityException, Reason: reason, Header: &elasticHeader{header}}}
}

// noHandler answers for the rest of Elasticsearch's paths.
func (d elasticDoor) noHandler(_ http.ResponseWriter, r *http.Request) error {
	return &elasticNote{http.StatusBadRequest, fmt.Sprintf("no handler found for uri [%s] and method [%s]", r.URL.Path, r.Method)}
}

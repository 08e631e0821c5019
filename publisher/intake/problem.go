package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
)

// problemBase begins the type URI of every problem.
const problemBase = "https://rescind.dev/problems/"

// problem is an error as RFC 9457 has it.
type problem struct {
	Type   string      `json:"type"`
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail,omitempty"`
	Errors fieldErrors `json:"errors,omitempty"`
}

// failProblem answers with a problem document.
func (s *Server) failProblem(w http.ResponseWriter, r *http.Request, d door, err error) {
	c := s.explain(w, r, d, err)
	if c.status == http.StatusUnauthorized || c.status == http.StatusForbidden {
		w.Header().Set("WWW-Authenticate", challenge(r, err))
	}
	p := problem{Type: problemBase + c.slug, Title: c.title, Status: c.status, Detail: c.detail}
	errors.As(err, &p.Errors)
	writeJSON(w, "application/problem+json", c.status, p)
}

// writeJSON answers with v in one line.
func writeJSON(w http.ResponseWriter, contentType string, status int, v any) {
	b, err := encodeJSON(v)
	if err != nil {
		panic("intake: an answer cannot be encoded: " + err.Error())
	}
	writeBody(w, contentType, status, b)
}

func writeBody(w http.ResponseWriter, contentType string, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that nobody listens any more
}

// encodeJSON leaves <, > and & as they are: answers are never part of a page.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// fragment escapes a part of a JSON pointer for a URI fragment.
func fragment(s string) string { return url.PathEscape(s) }

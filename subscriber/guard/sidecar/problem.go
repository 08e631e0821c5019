package sidecar

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// problem is an error of the agent's own API (RFC 9457).
type problem struct {
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Errors []problemError `json:"errors,omitempty"`
}

// problemError points at what is wrong, by a JSON pointer (RFC 6901).
type problemError struct {
	Detail  string `json:"detail"`
	Pointer string `json:"pointer"`
}

func newProblem(status int, detail string, errs ...problemError) *problem {
	return &problem{http.StatusText(status), status, detail, errs}
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // an error means that the caller is gone
}

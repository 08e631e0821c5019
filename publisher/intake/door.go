package intake

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// door is one protocol: how its answers look when something is wrong.
type door interface {
	// name is the door's in metrics, receipts and the log.
	name() string
	// begin sets what every answer of the door carries.
	begin(h http.Header)
	// fail answers with err in the protocol's own form. A *methodError among its
	// causes means that Allow is set already.
	fail(w http.ResponseWriter, r *http.Request, err error)
}

// handler answers a request, or leaves that to the door's fail by an error. It
// must not have written anything when it returns one.
type handler func(w http.ResponseWriter, r *http.Request) error

// methods are what a path takes; the method "" stands for any.
type methods map[string]handler

// maxHeaders is how many header fields a request may have. net/http bounds
// their bytes only.
const maxHeaders = 100

// add serves a path by a door: with the door's form of every error, counted.
func (s *Server) add(pattern string, d door, m methods) {
	s.paths[pattern] = true
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		counted := &countingWriter{ResponseWriter: w}
		r = r.WithContext(withVisit(r.Context(), r.RemoteAddr))
		d.begin(w.Header())
		if err := s.dispatch(counted, r, m); err != nil {
			d.fail(counted, r, err)
		}
		s.metrics.answered(d.name(), counted.status)
	})
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, m methods) error {
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	if n > maxHeaders {
		return fmt.Errorf("%w: more than %d", errHeaders, maxHeaders)
	}
	h := m[""]
	if h == nil {
		h = m[r.Method]
	}
	if h == nil && r.Method == http.MethodHead {
		h = m[http.MethodGet]
	}
	if h != nil {
		return h(w, r)
	}
	allowed := slices.Sorted(maps.Keys(m))
	if m[http.MethodGet] != nil {
		allowed = append(allowed, http.MethodHead)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &methodError{r.Method, allowed}
}

// methodError is a method that a path does not take.
type methodError struct {
	method  string
	allowed []string
}

func (e *methodError) Error() string { return "method is not one of " + strings.Join(e.allowed, ", ") }

// Is makes it an errMethod.
func (e *methodError) Is(target error) bool { return target == errMethod }

// countingWriter remembers the status for the metrics.
type countingWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the first status.
func (w *countingWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write is an answer of 200 unless WriteHeader said otherwise.
func (w *countingWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

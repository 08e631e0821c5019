package intake_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rescind/rescind/publisher/intake"
)

// openapi is the document that a server serves, by which answers are judged.
type openapi struct {
	doc      map[string]any
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
}

// answered are the answers of all tests, and documented those that a document has,
// as "operation status".
var answered, documented sync.Map

const openapiURL = "https://rescind.example/openapi.json"

func readOpenAPI(t *testing.T, s http.Handler) *openapi {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	doc, err := jsonschema.UnmarshalJSON(w.Body)
	must(t, err)
	o := &openapi{doc: doc.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	o.compiler.AssertFormat()
	must(t, o.compiler.AddResource(openapiURL, doc))
	o.document()
	return o
}

// TestMain tells, when all tests have run, which answers that are in the document
// nobody has ever seen.
func TestMain(m *testing.M) {
	code := m.Run()
	if all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" &&
		flag.Lookup("test.list").Value.String() == "" && flag.Lookup("test.fuzz").Value.String() == ""; code == 0 && all {
		for _, answer := range unseen() {
			fmt.Fprintln(os.Stderr, "openapi.yaml has an answer that no test has seen:", answer)
			code = 1
		}
	}
	os.Exit(code)
}

// unseen are the answers that some server's document has and that no test has seen,
// without those that stand for many, such as 4XX.
func unseen() (out []string) {
	documented.Range(func(answer, _ any) bool {
		if _, ok := answered.Load(answer); !ok {
			out = append(out, answer.(string))
		}
		return true
	})
	slices.Sort(out)
	return out
}

// document notes the answers that the document has.
func (o *openapi) document() {
	for path, item := range o.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			operation, _ := o.at("/paths", path, method)
			_, responses := o.at("/paths", path, method, "responses")
			statuses, _ := responses.(map[string]any)
			for status := range statuses {
				if !strings.HasSuffix(status, "XX") {
					documented.Store(operation+" "+status, true)
				}
			}
		}
	}
}

// at follows names from a node, and references on the way. It gives where it has come
// to, as a JSON pointer, and nil when there is nothing.
func (o *openapi) at(pointer string, names ...string) (string, any) {
	node := any(o.doc)
	all := append(strings.Split(strings.TrimPrefix(pointer, "/"), "/"), make([]string, 0, len(names))...)
	for _, name := range names {
		all = append(all, strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	at := ""
	for _, name := range all {
		if name == "" {
			continue
		}
		list, isList := node.([]any)
		members, isObject := node.(map[string]any)
		switch i, err := strconv.Atoi(name); {
		case isList && err == nil && i < len(list):
			node = list[i]
		case isObject:
			node = members[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
		default:
			return "", nil
		}
		at += "/" + name
		if members, ok := node.(map[string]any); ok {
			if ref, ok := members["$ref"].(string); ok && len(members) == 1 {
				at, node = o.at(strings.TrimPrefix(ref, "#"))
			}
		}
	}
	if node == nil {
		return "", nil
	}
	return at, node
}

func (o *openapi) validate(pointer string, v any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	schema := o.schemas[pointer]
	if schema == nil {
		var err error
		// Names with % are read as escapes.
		if schema, err = o.compiler.Compile(openapiURL + "#" + (&url.URL{Path: pointer}).EscapedPath()); err != nil {
			return err
		}
		o.schemas[pointer] = schema
	}
	return schema.Validate(v)
}

// path finds the path item of a request.
func (o *openapi) path(path string) string {
	paths := o.doc["paths"].(map[string]any)
	if paths[path] != nil {
		return path
	}
	for _, template := range slices.Sorted(maps.Keys(paths)) {
		prefix, _, templated := strings.Cut(template, "{")
		if rest, ok := strings.CutPrefix(path, prefix); templated && ok && !strings.Contains(rest, "/") && rest != "" {
			return template
		}
	}
	return ""
}

// exchange is a request and its answer.
type exchange struct {
	r        *http.Request
	sent     []byte
	status   int
	header   http.Header
	received []byte
}

// judge tells what the document does not say of an answer. Of a request that was
// carried out it tells too what is not allowed by the document.
func (o *openapi) judge(x *exchange) error {
	template := o.path(x.r.URL.Path)
	if template == "" {
		if x.status != http.StatusNotFound && x.status != http.StatusBadRequest && x.status != http.StatusMethodNotAllowed && x.status != http.StatusRequestHeaderFieldsTooLarge {
			return fmt.Errorf("the path is not in the document, and the status %d", x.status)
		}
		return nil
	}
	method := strings.ToLower(x.r.Method)
	if method == "head" {
		method = "get"
	}
	operation, node := o.at("/paths", template, method)
	if node == nil {
		if x.status != http.StatusMethodNotAllowed && x.status != http.StatusRequestHeaderFieldsTooLarge {
			return fmt.Errorf("the method is not in the document, and the status %d", x.status)
		}
		return o.judgeOther(template, x) // its form is that of the path's other errors
	}
	if x.status < 300 {
		if err := o.judgeRequest(operation, x); err != nil {
			return fmt.Errorf("request: %w", err)
		}
	}
	return o.judgeAnswer(operation, x)
}

func (o *openapi) judgeOther(template string, x *exchange) error {
	_, item := o.at("/paths", template)
	for method := range item.(map[string]any) {
		if operation, node := o.at("/paths", template, method, "responses"); node != nil {
			return o.judgeAnswer(strings.TrimSuffix(operation, "/responses"), x)
		}
	}
	return fmt.Errorf("there is no operation")
}

func (o *openapi) judgeAnswer(operation string, x *exchange) error {
	var at string
	var node any
	status := strconv.Itoa(x.status)
	for _, name := range []string{status, status[:1] + "XX"} {
		if at, node = o.at(operation+"/responses", name); node != nil {
			break
		}
	}
	if node == nil {
		return fmt.Errorf("the status %d is not in the document", x.status)
	}
	answered.Store(operation+" "+status, true)
	if err := o.judgeHeaders(at, x.header); err != nil {
		return err
	}
	_, content := o.at(at, "content")
	if content == nil {
		if len(x.received) > 0 {
			return fmt.Errorf("status %d has a body: %s", x.status, x.received)
		}
		return nil
	}
	if x.r.Method == http.MethodHead {
		return nil
	}
	return o.judgeBody(at+"/content", x.header.Get("Content-Type"), x.received)
}

func (o *openapi) judgeHeaders(response string, h http.Header) error {
	_, headers := o.at(response, "headers")
	members, _ := headers.(map[string]any)
	for name := range members {
		_, required := o.at(response, "headers", name, "required")
		if h.Get(name) == "" {
			if required == true {
				return fmt.Errorf("the header %s is missing", name)
			}
			continue
		}
		schema, node := o.at(response, "headers", name, "schema")
		var v any = h.Get(name)
		if n, ok := node.(map[string]any); ok && n["type"] == "integer" {
			v = json.Number(h.Get(name))
		}
		if err := o.validate(schema, v); err != nil {
			return fmt.Errorf("the header %s: %w", name, err)
		}
	}
	return nil
}

func (o *openapi) judgeRequest(operation string, x *exchange) error {
	for name, values := range x.r.URL.Query() {
		if err := o.judgeParameter(operation, name, values); err != nil {
			return err
		}
	}
	if _, node := o.at(operation, "requestBody"); node == nil {
		return nil
	}
	// Elasticsearch takes a body that does not say what it is, and a packed one.
	if x.r.Header.Get("Content-Type") == "" || x.r.Header.Get("Content-Encoding") != "" {
		return nil
	}
	content, _ := o.at(operation, "requestBody", "content")
	return o.judgeBody(content, x.r.Header.Get("Content-Type"), x.sent)
}

func (o *openapi) judgeParameter(operation, name string, values []string) error {
	_, list := o.at(operation, "parameters")
	parameters, _ := list.([]any)
	for i := range parameters {
		at, _ := o.at(operation, "parameters", strconv.Itoa(i))
		if _, is := o.at(at, "name"); is != name {
			continue
		}
		schema, node := o.at(at, "schema")
		var v any = values[0]
		if n, _ := node.(map[string]any); n["type"] == "integer" || n["type"] == "boolean" {
			if err := json.Unmarshal([]byte(values[0]), &v); err != nil {
				return err
			}
		}
		return o.validate(schema, v)
	}
	return fmt.Errorf("the parameter %s is not in the document", name)
}

func (o *openapi) judgeBody(content, contentType string, body []byte) error {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("Content-Type %q: %w", contentType, err)
	}
	schema, node := o.at(content, t, "schema")
	if node == nil {
		return fmt.Errorf("the media type %s is not in the document", t)
	}
	var v any = string(body)
	switch {
	case t == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return err
		}
		members := map[string]any{}
		for name, values := range form {
			members[name] = values[0]
		}
		v = members
	case t == "application/json" || strings.HasSuffix(t, "+json"):
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(body)); err != nil {
			return err
		}
	}
	if err := o.validate(schema, v); err != nil {
		return fmt.Errorf("%w in %s", err, body)
	}
	return nil
}

// judged has every answer of a server judged by the document that it serves.
func judged(t *testing.T, s *intake.Server) http.Handler {
	o := readOpenAPI(t, s)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{r: r}
		var sent, received bytes.Buffer
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &sent), r.Body}
		out := &teeWriter{ResponseWriter: w, copy: &received}
		s.ServeHTTP(out, r)
		x.status, x.header, x.sent, x.received = out.status, w.Header().Clone(), sent.Bytes(), received.Bytes()
		if out.status == 0 {
			return // whoever asked has gone
		}
		if err := o.judge(x); err != nil {
			t.Errorf("%s %s: %d is not as in openapi.yaml: %v", r.Method, r.URL, out.status, err)
		}
	})
}

// teeWriter keeps what is written.
type teeWriter struct {
	http.ResponseWriter
	copy   *bytes.Buffer
	status int
}

func (w *teeWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *teeWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.copy.Write(b)
	return w.ResponseWriter.Write(b)
}

func (w *teeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

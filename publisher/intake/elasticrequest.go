package intake

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// elasticRequest is a valid body: a token, a refresh token, or a realm and a user,
// at least one of them.
type elasticRequest struct {
	token, refresh, realm, user string
}

// parseElastic reads and validates a body as Elasticsearch does.
func parseElastic(body []byte) (*elasticRequest, error) {
	if len(body) == 0 {
		return nil, &elasticError{http.StatusBadRequest, elasticCause{Type: "parse_exception", Reason: "request body is required"}}
	}
	members, err := readObject(body)
	if err != nil {
		return nil, elasticSyntax(body, err)
	}
	var req elasticRequest
	fields := map[string]*string{"token": &req.token, "refresh_token": &req.refresh, "realm_name": &req.realm, "username": &req.user}
	for _, m := range members {
		field := fields[m.name]
		if field == nil {
			return nil, elasticParse(body, m.at, fmt.Sprintf("unknown field [%s]", m.name))
		}
		value, ok := m.str()
		if !ok {
			return nil, elasticParse(body, m.valueAt, fmt.Sprintf("%s doesn't support values of type: %s", m.name, elasticValue(m.value)))
		}
		*field = value
	}
	return &req, req.validate()
}

// validate holds Elasticsearch's rules: an empty string is absent, a blank one is
// not, yet a realm or user of blanks names nothing.
func (q *elasticRequest) validate() error {
	if q.token != "" && q.refresh != "" {
		return &elasticError{http.StatusBadRequest, elasticCause{Type: parseException,
			Reason: "Failed to build [invalidate_token] after last required field arrived",
			CausedBy: &elasticCause{Type: "illegal_argument_exception",
				Reason: "only one of [token, refresh_token] may be sent per request"}}}
	}
	token := q.token + q.refresh
	if isBlank(q.realm) && isBlank(q.user) {
		if token == "" {
			return elasticInvalid("token string must be provided when not specifying a realm name or a username")
		}
		// One of blanks beside a token means nothing.
		q.realm, q.user = "", ""
		return nil
	}
	var errs []string
	if !isBlank(token) {
		errs = append(errs, "token string must not be provided when realm name or username is specified")
	}
	if token != "" {
		errs = append(errs, "token type must not be provided when realm name or username is specified")
	}
	if errs != nil {
		return elasticInvalid(errs...)
	}
	return nil
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

func elasticSyntax(body []byte, err error) error {
	syntax, ok := errors.AsType[*syntaxError](err)
	switch {
	case !ok:
		return err
	case syntax.twice != "":
		return elasticParse(body, syntax.at, fmt.Sprintf("Duplicate field '%s'", syntax.twice))
	}
	return elasticParse(body, syntax.at, syntax.what)
}

// elasticParse makes a parse error with its place as Elasticsearch's parser
// counts it: lines and columns from 1, columns in characters.
func elasticParse(body []byte, at int, what string) error {
	before := body[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return &elasticError{http.StatusBadRequest, elasticCause{Type: parseException,
		Reason: fmt.Sprintf("[%d:%d] [invalidate_token] %s", line, column, what)}}
}

// elasticValue is what Elasticsearch's parser calls a value.
func elasticValue(value []byte) string {
	switch value[0] {
	case '{':
		return "START_OBJECT"
	case '[':
		return "START_ARRAY"
	case 't', 'f':
		return "VALUE_BOOLEAN"
	case 'n':
		return "VALUE_NULL"
	}
	return "VALUE_NUMBER"
}

// elasticParameters are those of every Elasticsearch request.
var elasticParameters = []string{"pretty", "human", "error_trace", "filter_path", "format"}

// checkElasticParameters refuses any other, so that a token in the query string,
// which proxies write into their logs, never works.
func checkElasticParameters(r *http.Request) error {
	var unknown []string
	for name := range r.URL.Query() {
		if !slices.Contains(elasticParameters, name) {
			unknown = append(unknown, "["+name+"]")
		}
	}
	if unknown == nil {
		return nil
	}
	slices.Sort(unknown)
	noun := "parameter"
	if len(unknown) > 1 {
		noun += "s"
	}
	return &elasticError{http.StatusBadRequest, elasticCause{Type: "illegal_argument_exception",
		Reason: fmt.Sprintf("request [%s] contains unrecognized %s: %s", r.URL.Path, noun, strings.Join(unknown, ", "))}}
}

// isPretty reads the pretty parameter; byDefault is for when it is absent.
func isPretty(r *http.Request, byDefault bool) bool {
	q := r.URL.Query()
	if !q.Has("pretty") {
		return byDefault
	}
	return q.Get("pretty") != "false"
}

const elasticVendor = "application/vnd.elasticsearch+json"

// elasticVersions are those that clients may ask to be compatible with.
var elasticVersions = []string{"7", "8", "9"}

// jsonType reads one media type, and gives the form in which Elasticsearch
// answers it, "" for what is not JSON.
func jsonType(value string) string {
	t, params, err := mime.ParseMediaType(value)
	if err != nil || !isUTF8(params) {
		return ""
	}
	version, ok := params["compatible-with"]
	switch {
	case t == "application/json":
		return t
	case t == elasticVendor && slices.Contains(elasticVersions, version):
		return elasticVendor + ";compatible-with=" + version
	case t == elasticVendor && !ok:
		return t
	}
	return ""
}

// elasticType is the type to answer in: the first that Accept has of ours, or
// without Accept the body's own.
func elasticType(h http.Header) string {
	from := h.Values("Accept")
	if len(from) == 0 {
		from = h.Values("Content-Type")
	}
	for part := range strings.SplitSeq(strings.Join(from, ","), ",") {
		if t := jsonType(part); t != "" {
			return t
		}
	}
	return "application/json"
}

func checkElasticType(h http.Header) error {
	given := strings.Join(h.Values("Content-Type"), ",")
	if given != "" && jsonType(given) == "" {
		return &elasticNote{http.StatusNotAcceptable, fmt.Sprintf("Content-Type header [%s] is not supported", given)}
	}
	return nil
}

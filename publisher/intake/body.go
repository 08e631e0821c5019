package intake

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// readBody reads a body of at most limit bytes, unpacked. gzipped tells whether
// the door takes Content-Encoding: gzip.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, gzipped bool) ([]byte, error) {
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")))
	var in io.Reader = http.MaxBytesReader(w, r.Body, limit)
	switch {
	case encoding == "" || encoding == "identity":
	case gzipped && encoding == "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, bodyError(err)
		}
		in = z
	default:
		return nil, fmt.Errorf("%w: Content-Encoding must not be set to that", errMediaType)
	}
	// A few bytes of gzip can unpack to any length, so it is bounded again.
	body, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, bodyError(err)
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: the body is longer than %d bytes", errTooLarge, limit)
}

func bodyError(err error) error {
	if over, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(over.Limit)
	}
	return fmt.Errorf("%w: the body cannot be read, or is not what Content-Encoding says", errMalformed)
}

// isJSON tells whether the body says that it is application/json. One that says
// nothing is not: a foreign page can make a browser send such a body, with the
// password that it remembers.
func isJSON(h http.Header) bool { return mediaType(h) == "application/json" }

// isLines tells whether the body says that it is JSON, one value a line.
func isLines(h http.Header) bool {
	t := mediaType(h)
	return t == "application/x-ndjson" || t == "application/jsonl"
}

// mediaType is what the body says that it is, "" when it does not say it once, or is
// not UTF-8.
func mediaType(h http.Header) string {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return ""
	}
	t, params, err := mime.ParseMediaType(values[0])
	if err != nil || !isUTF8(params) {
		return ""
	}
	return t
}

func isUTF8(params map[string]string) bool {
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

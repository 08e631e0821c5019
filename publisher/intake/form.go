package intake

import (
	"fmt"
	"net/http"
	"net/url"
)

const (
	formType  = "application/x-www-form-urlencoded"
	formLimit = 64 << 10
)

// readForm reads a form from the body alone: what stands in a query string ends up
// in logs. No parameter may be given twice, and one without a value is as good as
// not there (RFC 6749 section 3.2).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if mediaType(r.Header) != formType {
		return nil, fmt.Errorf("%w: Content-Type must be %s", errMediaType, formType)
	}
	body, err := readBody(w, r, formLimit, false)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: the form cannot be read", errMalformed)
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, fmt.Errorf("%w: a parameter is given twice", errMalformed)
		}
	}
	return form, nil
}

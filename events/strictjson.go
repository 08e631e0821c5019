package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object's members by their exact names. encoding/json alone
// would match names of struct fields without regard to case and let the last
// duplicate win; both are ways around a revocation.
type object map[string]json.RawMessage

// parseObject reads exactly one JSON object, refusing duplicate names, invalid
// UTF-8 and anything behind it.
func parseObject(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	o := make(object, 12)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("not a JSON object")
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, errors.New("not a JSON object")
		}
		if _, dup := o[name]; dup {
			return nil, errors.New("a member name appears twice")
		}
		o[name] = raw
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("data behind the JSON object")
	}
	return o, nil
}

func (o object) has(name string) bool { _, ok := o[name]; return ok }

// str gives a member that must be a string when present; absent is "".
func (o object) str(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	s, ok := rawString(raw)
	if !ok {
		return "", fmt.Errorf("member %s is not a string", name)
	}
	return s, nil
}

// into decodes a member into v when present.
func (o object) into(name string, v any) error {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("member %s has the wrong type", name)
	}
	return nil
}

// maxTime is the largest NumericDate that is read: beyond 2^53 a JSON number
// loses seconds in other readers.
const maxTime = 1 << 53

// seconds gives a NumericDate (RFC 7519 section 2) in whole seconds, rounded by
// round, and whether it is present. A fraction is legal; null, a string, or a
// value outside [0, 2^53) is not.
func (o object) seconds(name string, round func(float64) float64) (int64, bool, error) {
	raw, ok := o[name]
	if !ok {
		return 0, false, nil
	}
	bad := fmt.Errorf("member %s is not a time in seconds", name)
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		if n < 0 || n >= maxTime {
			return 0, false, bad
		}
		return n, true, nil
	}
	if len(raw) == 0 || raw[0] == '"' {
		return 0, false, bad
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f >= maxTime {
		return 0, false, bad
	}
	return int64(round(f)), true, nil
}

func rawString(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

package events

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
)

// value is one value of a document. The zero value stands for one that is not
// there.
type value struct {
	doc *document
	at  int32
}

func (v value) absent() bool { return v.doc == nil }

func (v value) form() form {
	if v.absent() {
		return 0
	}
	return v.doc.nodes[v.at].form
}

// raw is the value's text; of a string, its characters.
func (v value) raw() []byte {
	n := &v.doc.nodes[v.at]
	if n.elsewhere {
		return v.doc.unescaped[n.start:n.end]
	}
	return v.doc.text[n.start:n.end]
}

// elements gives the values of an array.
func (v value) elements() iter.Seq[value] {
	return func(yield func(value) bool) {
		nodes := v.doc.nodes
		for at := v.at + 1; at < nodes[v.at].next; at = nodes[at].next {
			if !yield(value{v.doc, at}) {
				return
			}
		}
	}
}

// object is an object in which no name stands twice. Names are compared to the
// letter: encoding/json alone would match names of struct fields without regard
// to case and let the last duplicate win; both are ways around a revocation.
type object struct{ value }

func (v value) object() (object, error) {
	if v.form() != isObject {
		return object{}, errNotObject
	}
	o := object{v}
	if o.repeats() {
		return object{}, errTwice
	}
	return o, nil
}

// members gives the names and values of an object.
func (o object) members() iter.Seq2[[]byte, value] {
	return func(yield func([]byte, value) bool) {
		nodes := o.doc.nodes
		for at := o.at + 1; at < nodes[o.at].next; at = nodes[at+1].next {
			if !yield(value{o.doc, at}.raw(), value{o.doc, at + 1}) {
				return
			}
		}
	}
}

// fewNames is how many names are compared each with each.
const fewNames = 24

func (o object) repeats() bool {
	var names [fewNames][]byte
	n := 0
	for name := range o.members() {
		if n == fewNames {
			return o.manyRepeat()
		}
		for _, other := range names[:n] {
			if bytes.Equal(name, other) {
				return true
			}
		}
		names[n] = name
		n++
	}
	return false
}

func (o object) manyRepeat() bool {
	seen := map[string]bool{}
	for name := range o.members() {
		if seen[string(name)] {
			return true
		}
		seen[string(name)] = true
	}
	return false
}

// onlyMember gives the name and value of an object with one member.
func (v value) onlyMember() (name string, member value, ok bool) {
	if v.form() != isObject {
		return "", value{}, false
	}
	n := 0
	for bytes, m := range (object{v}).members() {
		name, member = string(bytes), m
		n++
	}
	return name, member, n == 1
}

func (o object) get(name string) value {
	for n, v := range o.members() {
		if string(n) == name {
			return v
		}
	}
	return value{}
}

func (o object) has(name string) bool { return !o.get(name).absent() }

// chars gives the characters of a member that must be a string when present;
// absent is none.
func (o object) chars(name string) ([]byte, error) {
	v := o.get(name)
	if v.absent() {
		return nil, nil
	}
	if v.form() != isString {
		return nil, fmt.Errorf("member %s is not a string", name)
	}
	return v.raw(), nil
}

func (o object) str(name string) (string, error) {
	b, err := o.chars(name)
	return string(b), err
}

// into reads a member when present; null is no value of any type.
func into[T any](o object, name string, to *T, read func(value, *T) error) error {
	v := o.get(name)
	if v.absent() {
		return nil
	}
	if v.form() == isNull || read(v, to) != nil {
		return fmt.Errorf("member %s has the wrong type", name)
	}
	return nil
}

// maxTime is the largest NumericDate that is read: beyond 2^53 a JSON number
// loses seconds in other readers.
const maxTime = 1 << 53

// seconds gives a NumericDate (RFC 7519 section 2) in whole seconds, rounded by
// round; absent is 0. A fraction is legal; null, a string, or a value outside
// [0, 2^53) is not.
func (o object) seconds(name string, round func(float64) float64) (int64, error) {
	v := o.get(name)
	if v.absent() {
		return 0, nil
	}
	if n, ok := v.seconds(round); ok {
		return n, nil
	}
	return 0, fmt.Errorf("member %s is not a time in seconds", name)
}

func (v value) seconds(round func(float64) float64) (int64, bool) {
	if v.form() != isNumber {
		return 0, false
	}
	text := v.raw()
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return n, 0 <= n && n < maxTime
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || f < 0 || f >= maxTime {
		return 0, false
	}
	return int64(round(f)), true
}

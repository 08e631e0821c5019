package events

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// writer appends JSON to text, byte for byte as encoding/json writes it. Names
// are given as they are written.
type writer struct{ text []byte }

// name begins a member, behind a comma unless it is the object's first.
func (w *writer) name(name string) {
	if w.text[len(w.text)-1] != '{' {
		w.text = append(w.text, ',')
	}
	w.text = append(w.text, '"')
	w.text = append(w.text, name...)
	w.text = append(w.text, '"', ':')
}

// begin begins a member that is an object, up to end.
func (w *writer) begin(name string) {
	w.name(name)
	w.text = append(w.text, '{')
}

func (w *writer) end() { w.text = append(w.text, '}') }

func (w *writer) number(name string, n int64) {
	w.name(name)
	w.text = strconv.AppendInt(w.text, n, 10)
}

func (w *writer) id(name string, id EventID) {
	w.name(name)
	w.text = append(w.text, '"')
	w.text = id.append(w.text)
	w.text = append(w.text, '"')
}

func (w *writer) str(name, s string) {
	w.name(name)
	w.text = appendString(w.text, s)
}

// The some… methods leave out what is empty.

func (w *writer) someNumber(name string, n int64) {
	if n != 0 {
		w.number(name, n)
	}
}

func (w *writer) someStr(name, s string) {
	if s != "" {
		w.str(name, s)
	}
}

func (w *writer) someStrs(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.name(name)
	before := byte('[')
	for _, s := range list {
		w.text = append(w.text, before)
		w.text = appendString(w.text, s)
		before = ','
	}
	w.text = append(w.text, ']')
}

func (w *writer) someIdentities(name string, list []Identity) {
	if len(list) == 0 {
		return
	}
	w.name(name)
	before := byte('[')
	for i := range list {
		w.text = append(w.text, before, '"')
		w.text = appendEncoded(w.text, list[i][:])
		w.text = append(w.text, '"')
		before = ','
	}
	w.text = append(w.text, ']')
}

// appendString leaves to encoding/json what it would write otherwise than it is.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always encodes
			}
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

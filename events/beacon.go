package events

import "fmt"

// Watermark says how far a stream reaches, as its leader told the publisher.
type Watermark struct {
	// Epoch names one life of the stream; a re-made stream has another.
	Epoch string `json:"epoch"`
	// First and Last are sequences. An empty stream has First = Last + 1.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Owed is how many acknowledged, unexpired events the stream lacks: they
	// were lost by it and will be published again.
	Owed int `json:"owed,omitempty"`
}

func (w *Watermark) member(name []byte, v value) error {
	switch string(name) {
	case "epoch":
		return readText(v, &w.Epoch)
	case "first":
		return readUint(v, &w.First)
	case "last":
		return readUint(v, &w.Last)
	case "owed":
		return readInt(v, &w.Owed)
	}
	return nil
}

// Beacon is what each publisher says once a second, so that an agent which hears
// nothing else knows whether it has missed anything.
type Beacon struct {
	// Origin's Counter is the beacon's number within the incarnation, from 1,
	// only rising.
	Origin Origin `json:"publisher"`
	// SentAt is the publisher's clock in Unix milliseconds, read before the
	// watermarks are asked for: they cover all that was acknowledged by then.
	SentAt  int64                `json:"sent_at"`
	Streams map[Stream]Watermark `json:"streams"`
}

func (b *Beacon) member(name []byte, v value) error {
	switch string(name) {
	case "publisher":
		return readObject(v, &b.Origin)
	case "sent_at":
		return readInt(v, &b.SentAt)
	case "streams":
		return readMap(v, &b.Streams, readBody)
	}
	return nil
}

// SignBeacon signs a beacon of the publisher whose public URL is issuer.
func (s *Signer) SignBeacon(fleet Fleet, issuer string, b *Beacon) ([]byte, error) {
	return s.signMessage(typeBeacon, claims{issuer, fleet, b.SentAt / 1000, b})
}

// OpenBeacon verifies a beacon. The errors are those of Open.
func (k *KeySet) OpenBeacon(fleet Fleet, raw []byte) (*Beacon, error) {
	b := new(Beacon)
	if _, err := k.openMessage(typeBeacon, fleet, raw, b, &b.Origin); err != nil {
		return nil, err
	}
	if b.SentAt <= 0 || b.SentAt >= maxTime {
		return nil, fmt.Errorf("%w: beacon without a send time", ErrMalformed)
	}
	for _, s := range EventStreams {
		if w, ok := b.Streams[s]; !ok || w.Epoch == "" || w.First > w.Last+1 || w.Owed < 0 {
			return nil, fmt.Errorf("%w: beacon without the mark of stream %s", ErrMalformed, s)
		}
	}
	return b, nil
}

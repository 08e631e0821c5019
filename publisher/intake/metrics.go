package intake

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// metrics are what /metrics shows of the doors. Their labels take few values:
// never a user, a caller or anything of a token.
type metrics struct {
	requests    *prometheus.CounterVec
	ignoredSETs *prometheus.CounterVec
	polls       *prometheus.CounterVec
	revocations *prometheus.CounterVec
	tokens      *prometheus.CounterVec
	latency     *prometheus.HistogramVec
}

func newMetrics(registry *prometheus.Registry, pub *publisher.Publisher) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_http_requests_total",
			Help: "Requests by door and HTTP status."}, []string{"door", "status"}),
		ignoredSETs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_ignored_security_events_total",
			Help: "Security events that were taken and signed nobody out, by door."}, []string{"door"}),
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_polls_total",
			Help: "Requests for security events to transmitters that are polled, by outcome: done, failed."}, []string{"outcome"}),
		revocations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_revocations_total",
			Help: "Revocations by door, kind of target and outcome: complete, partial, queued, replayed, unknown, forbidden, limited, failed."},
			[]string{"door", "kind", "outcome"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_revoked_tokens_total",
			Help: "Tokens that answers counted: invalidated, or previously invalidated."}, []string{"count"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "rescind_revocation_seconds",
			Help:    "Time from a revocation's acceptance to its answer, agents' reports included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"door"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.ignoredSETs, m.polls, m.revocations, m.tokens, m.latency, agentStates{pub}} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) answered(door string, status int) {
	m.requests.WithLabelValues(door, strconv.Itoa(status)).Inc()
}

func (m *metrics) ignored(door string) { m.ignoredSETs.WithLabelValues(door).Inc() }

func (m *metrics) refused(door string, kind events.Kind) {
	m.revocations.WithLabelValues(door, string(kind), "forbidden").Inc()
}

func (m *metrics) limited(door string, kind events.Kind) {
	m.revocations.WithLabelValues(door, string(kind), "limited").Inc()
}

// unknown counts a token that was answered as revoked and is not: nobody vouches for
// it, or it has expired.
func (m *metrics) unknown(door string) {
	m.revocations.WithLabelValues(door, string(events.KindToken), "unknown").Inc()
}

func (m *metrics) revoked(door string, kind events.Kind, res *publisher.Result, err error, took time.Duration) {
	m.revocations.WithLabelValues(door, string(kind), outcomeOf(res, err)).Inc()
	if err != nil || res.Replayed {
		return
	}
	m.latency.WithLabelValues(door).Observe(took.Seconds())
	m.tokens.WithLabelValues("invalidated").Add(float64(res.Invalidated))
	m.tokens.WithLabelValues("previously_invalidated").Add(float64(res.Previously))
}

func outcomeOf(res *publisher.Result, err error) string {
	switch {
	case errors.Is(err, publisher.ErrQueued):
		return "queued"
	case err != nil:
		return "failed"
	case res.Replayed:
		return "replayed"
	case res.Complete:
		return "complete"
	}
	return "partial"
}

// agentStates counts the agents that the publisher knows at the time of asking.
type agentStates struct{ pub *publisher.Publisher }

var agentsDesc = prometheus.NewDesc("rescind_agents",
	"Agents by their own word on their state; silent for those not heard of, gone for those that said goodbye.",
	[]string{"state"}, nil)

// Describe gives the one metric.
func (a agentStates) Describe(ch chan<- *prometheus.Desc) { ch <- agentsDesc }

// Collect asks the publisher.
func (a agentStates) Collect(ch chan<- prometheus.Metric) {
	counts := map[string]int{"silent": 0, "gone": 0, "unknown": 0}
	for _, s := range []events.State{events.Unsynced, events.Rebuilding, events.Syncing, events.Fresh, events.Stale, events.Untrusted} {
		counts[string(s)] = 0
	}
	for _, info := range a.pub.Agents() {
		counts[agentState(&info, counts)]++
	}
	for state, n := range counts {
		ch <- prometheus.MustNewConstMetric(agentsDesc, prometheus.GaugeValue, float64(n), state)
	}
}

// agentState is a state that is known: what an agent says could be anything.
func agentState(info *publisher.AgentInfo, known map[string]int) string {
	switch _, ok := known[string(info.State)]; {
	case info.Gone:
		return "gone"
	case info.Silent:
		return "silent"
	case ok:
		return string(info.State)
	}
	return "unknown"
}

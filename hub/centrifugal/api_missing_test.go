package centrifugal

import (
	"context"
	"fmt"
	"testing"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// halved is the broker of a node whose other node, "far", does not answer.
type halved struct{ *memory.Broker }

func (h halved) Ask(ctx context.Context, subject string, request []byte) (broker.Answers, error) {
	all, err := h.Broker.Ask(ctx, subject, request)
	all.Missing = []string{"far"}
	return all, err
}

func (h halved) Present(ctx context.Context, channel string) ([]broker.Info, error) {
	all, err := h.Broker.Present(ctx, channel)
	if err == nil {
		err = fmt.Errorf("presence: %w", &broker.MissingError{Nodes: []string{"far"}})
	}
	return all, err
}

func (h halved) Count(ctx context.Context, channel string) (broker.Counts, error) {
	n, err := h.Broker.Count(ctx, channel)
	if err == nil {
		err = &broker.MissingError{Nodes: []string{"far"}}
	}
	return n, err
}

// TestAPIMissing: results name the nodes that did not answer, and clients get what there is.
func TestAPIMissing(t *testing.T) {
	m, err := memory.New(memory.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	cfg := users(Config{Hub: spaces()})
	cfg.Hub.Broker, cfg.Hub.History, cfg.Hub.Presence = halved{m}, m, halved{m}
	n := serve(t, cfg)
	b := n.backend(APIConfig{})
	anna := n.user(formatJSON, "anna").in("seen:a")
	for method, want := range map[string]string{
		"presence":       fmt.Sprintf(`{"presence":{"%s":{"client":"%s","user":"anna"}},"missing":["far"]}`, anna.client, anna.client),
		"presence_stats": `{"num_clients":1,"num_users":1,"missing":["far"]}`,
		"channels":       `{"channels":{"seen:a":{"num_clients":1}},"missing":["far"]}`,
		"connections":    fmt.Sprintf(`{"connections":[{"client":"%s","user":"anna","node":"memory","num_channels":1}],"more":false,"missing":["far"]}`, anna.client),
		"users":          `{"users":[{"user":"anna","num_clients":1}],"more":false,"missing":["far"]}`,
		"info":           `{"nodes":[{"uid":"…","name":"memory","version":"sockmill","uptime":0,"num_clients":1,"num_users":1,"num_channels":1,"num_subs":1}],"missing":["far"]}`,
	} {
		b.want(method, `{"channel":"seen:a"}`, `{"result":`+want+`}`)
	}
	for method, params := range map[string]string{
		"send":        `{"users":["bob"],"data":1}`,
		"subscribe":   `{"user":"bob","channel":"plain:a"}`,
		"unsubscribe": `{"user":"bob","channel":"plain:a"}`,
		"refresh":     `{"user":"bob"}`,
		"disconnect":  `{"user":"bob"}`,
	} {
		b.want(method, params, `{"result":{"clients":0,"missing":["far"]}}`)
	}
	if r := anna.ask(&cf.Command{Presence: &cf.PresenceRequest{Channel: "seen:a"}}); len(r.GetPresence().GetPresence()) != 1 {
		t.Errorf("presence: %s", show(r))
	}
	if r := anna.ask(&cf.Command{PresenceStats: &cf.PresenceStatsRequest{Channel: "seen:a"}}); r.GetPresenceStats().GetNumClients() != 1 {
		t.Errorf("presence_stats: %s", show(r))
	}
}

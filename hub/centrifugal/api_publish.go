package centrifugal

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// message is what is published.
type message struct {
	Data        json.RawMessage   `json:"data"`
	B64Data     []byte            `json:"b64data"` // in place of data
	SkipHistory bool              `json:"skip_history"`
	Tags        map[string]string `json:"tags"`
	Key         string            `json:"idempotency_key"`
	Version     uint64            `json:"version"`
	Except      []string          `json:"except"` // not of Centrifugo: clients that do not get it
}

type publishParams struct {
	Channel string `json:"channel"`
	message
}

type broadcastParams struct {
	Channels []string `json:"channels"`
	message
}

type sendParams struct {
	Users  []string `json:"users"`
	Client string   `json:"client"`
	All    bool     `json:"all"`
	message
}

type publishResult struct {
	Offset uint64 `json:"offset,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
}

type empty struct{}

// check refuses what cannot be published.
func (m *message) check() error {
	switch {
	case len(m.B64Data) == 0 && len(m.Data) == 0:
		return badRequest("data is missing")
	case len(m.Key) > broker.KeyBytesMax:
		return badRequest("idempotency_key has %d bytes: at most %d are allowed", len(m.Key), broker.KeyBytesMax)
	case m.Version > 0:
		return notAvailable("version")
	}
	return nil
}

func (m *message) publication() hub.Publication {
	p := hub.Publication{Data: m.Data, Tags: m.Tags, Except: m.Except, Key: m.Key, NoHistory: m.SkipHistory}
	if len(m.B64Data) > 0 {
		p.Data = m.B64Data
	}
	return p
}

// channel looks at the name of a channel.
func (a *api) channel(name string) error {
	if name == "" {
		return badRequest("channel is missing")
	}
	if a.s.checkChannel(name) != nil {
		return badRequest("a channel has from 1 to %d bytes of UTF-8 without control bytes", a.s.cfg.ChannelNameMax)
	}
	return nil
}

func (a *api) publish(ctx context.Context, p *publishParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return a.publishTo(ctx, p.Channel, &p.message)
}

func (a *api) publishTo(ctx context.Context, channel string, m *message) (any, error) {
	if err := a.channel(channel); err != nil {
		return nil, err
	}
	o, err := a.s.hub.Options(channel)
	switch {
	case err != nil:
		return nil, err
	case m.Key != "" && (o.History == 0 || m.SkipHistory):
		return a.once.do(ctx, channel, m.Key, func() (any, error) {
			_, err := a.s.hub.Publish(ctx, channel, m.publication())
			return publishResult{}, err
		})
	}
	at, err := a.s.hub.Publish(ctx, channel, m.publication())
	return publishResult{at.Offset, at.Epoch}, err
}

// broadcast publishes to several channels, of which some may fail.
func (a *api) broadcast(ctx context.Context, p *broadcastParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	switch n := len(p.Channels); {
	case n == 0:
		return nil, badRequest("channels is missing")
	case n > a.cfg.ChannelsMax:
		return nil, limitExceeded("a broadcast goes to at most %d channels", a.cfg.ChannelsMax)
	}
	answers := make([]answer, len(p.Channels))
	each(len(answers), true, func(i int) {
		result, err := a.publishTo(ctx, p.Channels[i], &p.message)
		answers[i] = a.answer(result, err, "broadcast")
	})
	return map[string]any{"responses": answers}, nil
}

// send publishes to users, to a client, or to all, whatever channels they are in. It is not of Centrifugo.
func (a *api) send(ctx context.Context, p *sendParams) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	to, ways := hub.Target{All: p.All, Client: p.Client}, 0
	for _, way := range []bool{len(p.Users) > 0, p.Client != "", p.All} {
		if way {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, badRequest("it needs either users, client or all")
	case len(p.Users) > a.cfg.ChannelsMax:
		return nil, limitExceeded("a message goes to at most %d users", a.cfg.ChannelsMax)
	}
	do := func() (any, error) {
		if len(p.Users) > 0 {
			return reached(a.s.hub.SendUsers(ctx, p.Users, p.publication()))
		}
		return reached(a.s.hub.Send(ctx, to, p.publication()))
	}
	if p.Key != "" {
		return a.once.do(ctx, "", p.Key, do) // no channel has this name
	}
	return do()
}

// parallelMax is how many commands of a batch, or channels of a broadcast, are worked on at once.
const parallelMax = 16

// each calls f for the numbers below n, one after the other, or several at once.
func each(n int, parallel bool, f func(i int)) {
	if !parallel || n == 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var all sync.WaitGroup
	next := make(chan int)
	for range min(n, parallelMax) {
		all.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

type batchParams struct {
	Commands []map[string]json.RawMessage `json:"commands"`
	Parallel bool                         `json:"parallel"`
}

// batch carries out several commands, of which some may fail.
func (a *api) batch(ctx context.Context, body []byte) (any, error) {
	var p batchParams
	if err := decode(body, &p); err != nil {
		return nil, err
	}
	if err := a.checkCommands(len(p.Commands)); err != nil {
		return nil, err
	}
	replies := make([]map[string]any, len(p.Commands))
	var told atomic.Int64
	each(len(replies), p.Parallel, func(i int) { replies[i] = a.reply(ctx, p.Commands[i], &told) })
	return map[string]any{"replies": replies}, nil
}

func (a *api) checkCommands(n int) error {
	if n > a.cfg.CommandsMax {
		return limitExceeded("a request has at most %d commands", a.cfg.CommandsMax)
	}
	return nil
}

// reply answers a command of a batch, which has its name in front of its parameters.
func (a *api) reply(ctx context.Context, command map[string]json.RawMessage, told *atomic.Int64) map[string]any {
	if len(command) != 1 {
		return map[string]any{"error": badRequest("a command has one method").value()}
	}
	for name, params := range command {
		result, err := a.runOne(ctx, name, params, told)
		if err != nil {
			return map[string]any{"error": a.errorOf(err, name).value()}
		}
		return map[string]any{name: result}
	}
	return nil
}

// runOne carries out one of several commands. told are the bytes of their results.
func (a *api) runOne(ctx context.Context, name string, params json.RawMessage, told *atomic.Int64) (any, error) {
	if told.Load() >= int64(a.cfg.AnswersMax) {
		return nil, limitExceeded("what was asked before is answered with %d bytes already", told.Load())
	}
	result, err := a.run(ctx, name, params)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(result)
	told.Add(int64(len(text)))
	return json.RawMessage(text), err
}

// commands carries out what is sent to /api: objects with a method and its parameters, one after the other, as
// Centrifugo took them before version 5. If one cannot be read, none is carried out.
func (a *api) commands(ctx context.Context, body []byte) (int, []any) {
	type command struct {
		ID     *uint32         `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	var all []command
	err := stream(body, func(text []byte) error {
		var c command
		if err := decode(text, &c); err != nil {
			return err
		}
		all = append(all, c)
		return a.checkCommands(len(all))
	})
	if err == nil && len(all) == 0 {
		err = malformed{badRequest("no command: the method belongs into the path, or into the body"), http.StatusBadRequest}
	}
	if err != nil {
		return a.status(err), []any{a.answer(nil, err, "")}
	}
	answers := make([]any, len(all))
	var told atomic.Int64
	for i, c := range all {
		if c.Params == nil {
			c.Params = []byte("{}")
		}
		result, err := a.runOne(ctx, c.Method, c.Params, &told)
		x := a.answer(result, err, c.Method)
		x.ID = c.ID
		answers[i] = x
	}
	return http.StatusOK, answers
}

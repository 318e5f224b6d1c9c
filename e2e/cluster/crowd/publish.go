package crowd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
)

const publishTimeout = 5 * time.Second // then a publisher gives a message up: it may be there or not

// publishAll publishes over the client's connection, one message after the other, until the crowd ends.
func (c *client) publishAll() {
	r := rand.New(rand.NewPCG(c.cfg.Seed, c.rand.Uint64()))
	c.publisher(func(n uint64) {
		channel := c.channels[r.IntN(len(c.channels))]
		_ = c.one(channel, check.Message{By: c.name, N: n}, func(ctx context.Context, m check.Message) (*check.Position, error) {
			_, err := c.ask(ctx, command{Publish: &publish{channel, m}})
			return nil, err
		})
	})
}

// publishOver publishes over the HTTP API of a node.
func (c *Crowd) publishOver(node int) {
	r := rand.New(rand.NewPCG(c.cfg.Seed, uint64(node)<<32))
	by := "http-" + c.cfg.Nodes[node].Name
	c.publisher(func(n uint64) {
		channel := c.cfg.Channels[r.IntN(len(c.cfg.Channels))]
		_ = c.one(channel, check.Message{By: by, N: n}, func(ctx context.Context, m check.Message) (*check.Position, error) {
			return c.post(ctx, node, channel, m)
		})
	})
}

// publisher calls f with rising numbers, with time in between, while nobody has the gate.
func (c *Crowd) publisher(f func(n uint64)) {
	t := time.NewTicker(c.cfg.Every)
	defer t.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-c.ctx.Done():
			return
		case <-t.C:
		}
		c.gate.RLock()
		f(n)
		c.gate.RUnlock()
	}
}

// one publishes a message once and notes what became of it.
func (c *Crowd) one(channel string, m check.Message, do func(context.Context, check.Message) (*check.Position, error)) error {
	ctx, cancel := context.WithTimeout(c.ctx, publishTimeout)
	defer cancel()
	c.cfg.Book.Sending(channel, m)
	at, err := do(ctx, m)
	if err != nil {
		c.failed.Add(1)
		return err
	}
	c.cfg.Book.Acked(channel, m, at)
	c.acked.Add(1)
	return nil
}

// post publishes over the HTTP API.
func (c *Crowd) post(ctx context.Context, node int, channel string, m check.Message) (*check.Position, error) {
	var result struct {
		Offset uint64
		Epoch  string
	}
	if err := c.call(ctx, node, "publish", publish{channel, m}, &result); err != nil {
		return nil, err
	}
	return &check.Position{Offset: result.Offset, Epoch: result.Epoch}, nil
}

// call calls a method of the HTTP API.
func (c *Crowd) call(ctx context.Context, node int, method string, params, result any) error {
	body, err := json.Marshal(params)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.Nodes[node].HTTP+"/api/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-API-Key", c.cfg.Key)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return err
	}
	var got struct {
		Error  *Error
		Result json.RawMessage
	}
	switch err := json.Unmarshal(text, &got); {
	case err != nil:
		return fmt.Errorf("%s: %s: %w: %.200s", method, answer.Status, err, text)
	case got.Error != nil:
		return got.Error
	case answer.StatusCode != http.StatusOK || got.Result == nil:
		return errors.New(method + ": " + answer.Status)
	}
	return json.Unmarshal(got.Result, result)
}

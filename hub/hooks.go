package hub

import (
	"context"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// Hooks decide what clients may do: nil is yes, with an error the method fails. A hook that is set decides alone; for one that
// is not, the options of the channel decide. They run on the goroutine of the method, which is never a loop, and may
// block.
type Hooks struct {
	Connect  func(ctx context.Context, conn *engine.Conn, as *Connect) error // may change as. nil: yes
	Join     func(ctx context.Context, c *Client, channel string, j *Join) error
	Publish  func(ctx context.Context, c *Client, channel string, p *Publication) error
	History  func(ctx context.Context, c *Client, channel string, q *broker.Query) error
	Presence func(ctx context.Context, c *Client, channel string) error
	RPC      func(ctx context.Context, c *Client, method string, data []byte) ([]byte, error) // nil: ErrMethod
}

// allowed is what the options say, where no hook decides.
func (c *Client) allowed(who Who, channel string) error {
	if who == Everybody || who == Members && c.member(channel) != nil {
		return nil
	}
	return ErrDenied
}

// Join has the client get what is published to a channel. With Join.Since it is sent what it has missed, if that can be
// proven to be all. It fails with ErrDenied, ErrJoined, ErrLimit, ErrName, ErrGone, ErrClosed, with errors of the hook, of Config.Channel,
// of the brokers and of sending, and with that of Join.Begin; then the client has not joined.
func (c *Client) Join(ctx context.Context, channel string, j Join) (Joined, error) {
	o, err := c.h.askOf(ctx, channel)
	if err == nil {
		err = c.room(channel)
	}
	if err != nil {
		return Joined{}, err
	}
	if hook := c.h.cfg.Hooks.Join; hook != nil {
		err = hook(ctx, c, channel, &j)
	} else if o.Join != Everybody {
		err = ErrDenied
	}
	if err != nil {
		return Joined{}, err
	}
	return c.join(ctx, channel, j)
}

// Publish publishes to a channel for the client, as Hub.Publish does. Publication.Info is that of the client. It also fails with ErrDenied and the
// errors of the hook.
func (c *Client) Publish(ctx context.Context, channel string, p Publication) (broker.Position, error) {
	o, err := c.h.askOf(ctx, channel)
	if err != nil {
		return broker.Position{}, err
	}
	if m := c.member(channel); m != nil {
		p.Info = m.seen()
	} else {
		p.Info = c.seen(nil)
	}
	if hook := c.h.cfg.Hooks.Publish; hook != nil {
		err = hook(ctx, c, channel, &p)
	} else {
		err = c.allowed(o.Publish, channel)
	}
	if err != nil {
		return broker.Position{}, err
	}
	if o.NotOwn {
		p.Except = append(p.Except[:len(p.Except):len(p.Except)], c.id)
	}
	return c.h.publishTo(ctx, channel, &o, &p)
}

// History reads publications of a channel for the client, as Hub.History does. It also fails with ErrDenied and the errors of the
// hook.
func (c *Client) History(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	o, err := c.h.askOf(ctx, channel)
	if err != nil {
		return broker.Page{}, err
	}
	if hook := c.h.cfg.Hooks.History; hook != nil {
		err = hook(ctx, c, channel, &q)
	} else {
		err = c.allowed(o.ReadHistory, channel)
	}
	if err != nil {
		return broker.Page{}, err
	}
	return c.h.History(ctx, channel, q)
}

// Present returns who is in a channel, as Hub.Present does. It also fails with ErrDenied and the errors of the hook.
func (c *Client) Present(ctx context.Context, channel string) ([]broker.Info, error) {
	if err := c.maySeePresence(ctx, channel); err != nil {
		return nil, err
	}
	return c.h.Present(ctx, channel)
}

// Count counts who is in a channel, as Hub.Count does. It also fails with ErrDenied and the errors of the hook.
func (c *Client) Count(ctx context.Context, channel string) (broker.Counts, error) {
	if err := c.maySeePresence(ctx, channel); err != nil {
		return broker.Counts{}, err
	}
	return c.h.Count(ctx, channel)
}

func (c *Client) maySeePresence(ctx context.Context, channel string) error {
	o, err := c.h.askOf(ctx, channel)
	if err != nil {
		return err
	}
	if hook := c.h.cfg.Hooks.Presence; hook != nil {
		return hook(ctx, c, channel)
	}
	return c.allowed(o.ReadPresence, channel)
}

// Call calls a method of the program: the hook RPC. It fails with ErrMethod, and as the hook does.
func (c *Client) Call(ctx context.Context, method string, data []byte) ([]byte, error) {
	if err := c.h.ask(ctx); err != nil {
		return nil, err
	}
	if c.h.cfg.Hooks.RPC == nil {
		return nil, ErrMethod
	}
	return c.h.cfg.Hooks.RPC(ctx, c, method, data)
}

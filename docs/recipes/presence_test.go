package recipes

import (
	"fmt"
	"log"
	"net/http"

	"github.com/sockmill/sockmill/engine"
)

// presence knows who is here. It lives on one loop, where all of its methods are
// called, so that it needs no lock.
type presence struct {
	e    *engine.Engine
	home *engine.Loop
	here map[string]int // connections of each user, who may have more than one
}

// change is to be called on any loop: n is 1 for a connection that came, -1 for
// one that left.
func (p *presence) change(user string, n int) {
	err := p.home.Post(func() {
		before := p.here[user]
		if p.here[user] += n; p.here[user] == 0 {
			delete(p.here, user)
		}
		switch {
		case before == 0:
			p.tell(user + " is here")
		case before == 1 && n < 0:
			p.tell(user + " has left")
		}
	})
	if err != nil {
		log.Println(err) // the engine has ended, or its loop is overwhelmed
	}
}

func (p *presence) tell(text string) {
	if err := p.e.Publish("presence", engine.Message{Type: engine.Text, Data: []byte(text)}); err != nil {
		log.Println(err)
	}
}

// Who is online, by hand: a user is here from the first connection to the last.
func Example_presence() {
	var p *presence
	e := server(engine.Config{}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			if len(u.Request.Path) < 2 {
				return engine.Refuse(http.StatusNotFound, "whose path is that?")
			}
			u.State = u.Request.Path[1:] // see the recipes of a login
			return nil
		},
		OnOpen: func(c *engine.Conn) {
			if err := c.Subscribe("presence"); err != nil {
				log.Println(err)
			}
			p.change(c.State().(string), 1)
		},
		OnClose: func(c *engine.Conn, _ *engine.CloseError) { p.change(c.State().(string), -1) },
	})
	p = &presence{e: e, home: e.Loops()[0], here: map[string]int{}}
	client, stop := serve(e)
	defer stop()

	come := func(user string) *visitor {
		v, _ := visit(client, engine.Dial{URL: "ws://" + e.Addr().String() + "/" + user})
		return v
	}
	ada := come("Ada")
	fmt.Println(<-ada.heard)
	grace := come("Grace")
	fmt.Println(<-ada.heard)
	phone := come("Grace") // nothing new
	phone.leave()
	grace.leave()
	fmt.Println(<-ada.heard)
	// Output:
	// Ada is here
	// Grace is here
	// Grace has left
}

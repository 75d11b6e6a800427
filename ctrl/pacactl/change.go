package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

// change is how policy is to be changed, by flags.
type change struct {
	dryRun   bool
	expected uint64

	list bool // the answer is to tell what was changed
}

func (h *change) flags(command *cobra.Command) {
	command.Flags().BoolVar(&h.dryRun, "dry-run", false, "say what would change, and change nothing")
	h.expect(command)
}

func (h *change) expect(command *cobra.Command) {
	command.Flags().Uint64Var(&h.expected, "expected-revision", 0, "refuse if policy is at another revision")
}

// changeSet is what to change.
type changeSet struct {
	changes []*pacav1.Change
	// locate says where a fault of changes[i] comes from, or "".
	locate func(f *pacav1.Fault) string
}

// refusal is why the daemon did not take a set.
type refusal struct {
	error
	set *changeSet
}

func (r *refusal) Unwrap() error { return r.error }

// sight says whether a change set follows from what policy was.
type sight bool

const (
	blind   sight = false
	sighted sight = true
)

// send has a change set applied and says what came of it.
func (c *ctl) send(ctx context.Context, daemon *client.Client, how change, seen sight, compose func() (*changeSet, error)) error {
	answer, err := apply(ctx, daemon, how, seen, compose)
	if err != nil {
		return err
	}
	return c.report(ctx, daemon, how, answer)
}

// tries is how often a set is composed anew because policy moved meanwhile.
const tries = 10

// apply sends a change set that compose makes; if it depends on policy as it
// is, then on no other.
func apply(ctx context.Context, daemon *client.Client, how change, seen sight, compose func() (*changeSet, error)) (*pacav1.ApplyResponse, error) {
	for try := 1; ; try++ {
		request := &pacav1.ApplyRequest{DryRun: how.dryRun, ListApplied: how.dryRun || how.list, ExpectedRevision: how.expected}
		if seen && how.expected == 0 {
			status, err := daemon.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{}))
			if err != nil {
				return nil, err
			}
			request.ExpectedRevision = status.Msg.PolicyVersion
		}
		set, err := compose()
		if err != nil {
			return nil, err
		}
		answer, err := deliver(ctx, daemon, request, set.changes)
		moved := bool(seen) && how.expected == 0 && api.Detail(err).GetCode() == pacav1.ErrorCode_ERROR_CODE_CONFLICT
		switch {
		case err == nil:
			return answer, nil
		case !moved || try == tries:
			return nil, &refusal{err, set}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(rand.IntN(10*try)) * time.Millisecond):
		}
	}
}

// maxMessage is how much of a set goes into one message, in bytes.
const maxMessage = 512 << 10

// deliver sends a set in as many messages as it takes.
func deliver(ctx context.Context, daemon *client.Client, request *pacav1.ApplyRequest, changes []*pacav1.Change) (*pacav1.ApplyResponse, error) {
	var stream *connect.ClientStreamForClient[pacav1.ApplyRequest, pacav1.ApplyResponse]
	size := 0
	for _, one := range changes {
		n := proto.Size(one)
		if size += n; size > maxMessage {
			if stream == nil {
				stream = daemon.ApplyStream(ctx)
			}
			if stream.Send(request) != nil {
				break // what is wrong, the answer says
			}
			request, size = &pacav1.ApplyRequest{}, n
		}
		request.Changes = append(request.Changes, one)
	}
	if stream == nil {
		answer, err := daemon.Apply(ctx, connect.NewRequest(request))
		if err != nil {
			return nil, err
		}
		return answer.Msg, nil
	}
	_ = stream.Send(request)
	answer, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

// report says what a set changed, or would change.
func (c *ctl) report(ctx context.Context, daemon *client.Client, how change, answer *pacav1.ApplyResponse) error {
	if c.format != formatTable {
		return c.show(answer, nil)
	}
	lines, err := differences(ctx, daemon, answer.Applied)
	if err != nil {
		return err
	}
	return c.show(answer, func() string {
		objects := fmt.Sprintf("%d objects", answer.Changed)
		if answer.Changed == 1 {
			objects = "1 object"
		}
		page := layOut(changeColumns, lines)
		switch more := answer.Changed - uint64(len(answer.Applied)); {
		case answer.Changed == 0:
			return fmt.Sprintf("nothing to change at revision %d\n", answer.Revision)
		case !how.dryRun:
			return fmt.Sprintf("%s changed, revision %d\n", objects, answer.Revision)
		case more > 0:
			page += fmt.Sprintf("and %d more\n", more)
		}
		return page + fmt.Sprintf("%s would change, revision %d\n", objects, answer.Revision)
	})
}

var changeColumns = []column{{"", fixed}, {"", fixed}, {"", text}, {"", text}}

// differences words applied changes: + is new, - goes, ~ becomes other.
func differences(ctx context.Context, daemon *client.Client, applied []*pacav1.Change) ([][]string, error) {
	var lines [][]string
	for _, one := range applied {
		put := one.GetPut()
		if put == nil {
			lines = append(lines, changeLine("-", one.GetDelete(), nil))
			continue
		}
		before, err := daemon.Get(ctx, connect.NewRequest(&pacav1.GetRequest{Object: put}))
		switch {
		case api.Detail(err).GetCode() == pacav1.ErrorCode_ERROR_CODE_NOT_FOUND:
			lines = append(lines, changeLine("+", put, nil))
		case err != nil:
			return nil, err
		default:
			lines = append(lines, changeLine("~", put, before.Msg.Object))
		}
	}
	return lines, nil
}

// changeLine is a line about an object and, if it had one, its state before.
func changeLine(sign string, o, before *pacav1.Object) []string {
	n, m := nounOf(o)
	if n == nil {
		return []string{sign, "?", "", ""} // of a newer daemon
	}
	var old protoreflect.Message
	if before != nil {
		_, old = nounOf(before)
	}
	var who, what []string
	for _, f := range n.fields {
		d := descriptor(m, f.name)
		is := printed(d, m.Get(d))
		switch {
		case f.part == edited || f.part == picked:
		case f.part == identity:
			who = append(who, f.flagName()+"="+is)
		case old == nil && m.Has(d) && sign != "-":
			what = append(what, f.flagName()+"="+is)
		case old != nil && !m.Get(d).Equal(old.Get(d)):
			what = append(what, f.flagName()+"="+printed(d, old.Get(d))+" -> "+is)
		}
	}
	if f := n.alone(); f != nil && old != nil {
		// What identifies may hold more: the prefix length of a PA.
		d := descriptor(m, f.name)
		if !m.Get(d).Equal(old.Get(d)) {
			what = append(what, f.flagName()+"="+printed(d, old.Get(d))+" -> "+printed(d, m.Get(d)))
		}
	}
	return []string{sign, n.name, strings.Join(who, " "), strings.Join(what, " ")}
}

// nounOf is what kind of object o is, and its message.
func nounOf(o *pacav1.Object) (*noun, protoreflect.Message) {
	m := o.ProtoReflect()
	d := m.WhichOneof(m.Descriptor().Oneofs().ByName("object"))
	if d == nil {
		return nil, nil
	}
	for _, n := range nouns {
		if n.object == d.Name() {
			return n, m.Get(d).Message()
		}
	}
	return nil, nil
}

// object is what a change is about.
func object(one *pacav1.Change) *pacav1.Object {
	switch v := one.GetChange().(type) {
	case *pacav1.Change_Add:
		return v.Add
	case *pacav1.Change_Replace:
		return v.Replace
	case *pacav1.Change_Put:
		return v.Put
	case *pacav1.Change_Delete:
		return v.Delete
	}
	return nil
}

// word says where in a set a fault is.
func (s *changeSet) word(f *pacav1.Fault) string {
	if s.locate != nil {
		if located := s.locate(f); located != "" {
			return located
		}
	}
	where := strings.ReplaceAll(f.Object, "_", "-")
	if int(f.Index) < len(s.changes) {
		if o := object(s.changes[f.Index]); o != nil {
			line := changeLine("-", o, nil)
			where = strings.TrimSpace(line[1] + " " + line[2])
		}
	}
	if f.Field != "" {
		where += ": " + flagOf(f)
	}
	return where + ": " + faultText(f)
}

// flagOf is what a fault's field is called here.
func flagOf(f *pacav1.Fault) string {
	for _, n := range nouns {
		for i := range n.fields {
			if string(n.object) == f.Object && string(n.fields[i].name) == f.Field {
				return n.fields[i].flagName()
			}
		}
	}
	return strings.ReplaceAll(f.Field, "_", "-")
}

func faultText(f *pacav1.Fault) string {
	if f.Rule == "" {
		return f.Problem
	}
	return f.Problem + " (" + f.Rule + ")"
}

// errNotFound says that a selector found nothing.
var errNotFound = errors.New("there is no such")

func notFound(n *noun) error { return fmt.Errorf("%w %s", errNotFound, n.one) }

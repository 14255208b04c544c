package pool

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/hash"
)

// setup is the first message to a child.
type setup struct {
	Engine, Libvips string
	Memory          int64 // what an image may take
	MaxOutput       int64
}

// hello is the answer to setup.
type hello struct {
	Status Status
	Error  string // why there is no engine
}

// request asks for the derivatives of an image, or its hashes. A descriptor comes with it, unless the image is in the shared memory that
// came with an earlier one.
type request struct {
	ID      uint64
	Size    int64 // bytes of the image
	Shared  bool  // the descriptor is that of shared memory, for images to come as well
	CPU     int64 // seconds that it may take
	Data    int64 // bytes of private memory that the process may have; 0: any number
	Limits  pixels.Limits
	Outputs []pixels.Output
	Hash    bool // the hashes of the image are wanted, and no derivatives
}

// answer is that to a request. The data of the derivatives follow each other in the file for results.
type answer struct {
	ID      uint64
	Code    string // of a *pixels.Error
	Message string // of any error
	Made    []made
	Hashes  *hash.Hashes
}

type made struct {
	pixels.Derivative
	Length int64 // of Data, which is left out
}

// maxMessage bounds a message in bytes.
const maxMessage = 1 << 20

// conn carries messages over one end of a pair of sockets: JSON after its length in four bytes.
type conn struct {
	*os.File
	raw syscall.RawConn
}

// newConn takes a socket, which it sets to non-blocking so that a read ends when the conn is closed.
func newConn(fd int) (*conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "socket")
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &conn{f, raw}, nil
}

// send sends a message and, unless it is nil, the descriptor of a file.
func (c *conn) send(message any, file *os.File) error {
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes is longer than %d", len(b), maxMessage)
	}
	return c.sendRaw(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...), file)
}

func (c *conn) sendRaw(b []byte, file *os.File) error {
	if file == nil {
		_, err := c.Write(b)
		return err
	}
	rights, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var sendErr error
	write := func(fd uintptr) bool {
		controlErr := rights.Control(func(sent uintptr) {
			n, sendErr = unix.SendmsgN(int(fd), b, unix.UnixRights(int(sent)), nil, 0)
		})
		sendErr = errors.Join(sendErr, controlErr)
		return !errors.Is(sendErr, unix.EAGAIN) && !errors.Is(sendErr, unix.EINTR)
	}
	if err := c.raw.Write(write); err != nil {
		return err
	}
	if sendErr != nil {
		return sendErr
	}
	_, err = c.Write(b[n:])
	return err
}

// receive reads a message. A descriptor that came with it is lost.
func (c *conn) receive(message any) error {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	return c.body(head, message)
}

// receiveFile reads a message and the descriptor that comes with it; nil if there is none.
func (c *conn) receiveFile(message any) (*os.File, error) {
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	var readErr error
	read := func(fd uintptr) bool {
		n, oobn, _, _, readErr = unix.Recvmsg(int(fd), head[:], oob, 0)
		return !errors.Is(readErr, unix.EAGAIN) && !errors.Is(readErr, unix.EINTR)
	}
	if err := c.raw.Read(read); err != nil {
		return nil, err
	}
	if readErr != nil || n == 0 {
		return nil, errors.Join(readErr, io.EOF)
	}
	file, err := fileIn(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if _, err = io.ReadFull(c, head[n:]); err == nil {
		err = c.body(head, message)
	}
	if err != nil && file != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, err
}

func fileIn(oob []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "image"), nil
}

func (c *conn) body(head [4]byte, message any) error {
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage {
		return fmt.Errorf("a message of %d bytes is longer than %d", n, maxMessage)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	return json.Unmarshal(b, message)
}

// socketPair returns both ends of a pair of sockets.
func socketPair() (ours *conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	theirs = os.NewFile(uintptr(fds[1]), "socket")
	if ours, err = newConn(fds[0]); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), theirs.Close())
	}
	return ours, theirs, nil
}

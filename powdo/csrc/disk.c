/* powdo._disk: what puts a file on disk under its name, in one call.

   Each step is a system call of a few microseconds to some milliseconds. Made from Python, every one of them gives
   the GIL away and asks for it again, and threads that do so beside a busy event loop mostly wait for one another.
   Here the GIL is released once, for all steps. powdo/servers/blossom/placing.py has the same steps in Python.

   Written for the stable ABI of CPython 3.11. */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    const char *data;
    Py_ssize_t length;
} piece;

static int retried_open(const char *path, int flags)
{
    int descriptor;

    do
        descriptor = open(path, flags | O_CLOEXEC, 0600);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

static int retried_fsync(int descriptor)
{
    int failed;

    do
        failed = fsync(descriptor);
    while (failed && errno == EINTR);
    return failed;
}

static void close_quietly(int descriptor)
{
    int error = errno;

    close(descriptor); /* everything is synced, or has failed already */
    errno = error;
}

static int write_all(int descriptor, const piece *pieces, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        const char *data = pieces[i].data;
        Py_ssize_t left = pieces[i].length;

        while (left > 0) {
            ssize_t written = write(descriptor, data, (size_t)left);

            if (written < 0 && errno != EINTR)
                return -1;
            if (written > 0) {
                data += written;
                left -= written;
            }
        }
    }
    return 0;
}

static int sync_directory(const char *path)
{
    int directory = retried_open(path, O_RDONLY | O_DIRECTORY), failed;

    if (directory < 0)
        return -1;
    failed = retried_fsync(directory);
    close_quietly(directory);
    return failed;
}

static int make_directory(const char *path, const char *parent)
{
    if (mkdir(path, 0700) && errno != EEXIST)
        return -1;
    return sync_directory(parent);
}

typedef struct {
    int descriptor; /* of the temporary file, or negative where it is to be made */
    const piece *pieces;
    Py_ssize_t count; /* negative where nothing is to be written */
    const char *temporary, *path, *directory, *parent; /* the last three may be NULL: see placing.py */
} work;

/* Return NULL, or the path at which errno was set. */
static const char *write_synced(const work *work)
{
    int file = work->descriptor >= 0 ? work->descriptor : retried_open(work->temporary, O_WRONLY | O_CREAT | O_EXCL);
    const char *failed = NULL;

    if (file < 0)
        return work->temporary;
    if (write_all(file, work->pieces, work->count))
        failed = work->temporary;
    if (!failed && work->parent) {
#ifdef SYNC_FILE_RANGE_WRITE
        sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE); /* no more than advice: the disk begins meanwhile */
#endif
        if (make_directory(work->directory, work->parent))
            failed = work->directory;
    }
    if (!failed && retried_fsync(file))
        failed = work->temporary;
    if (work->descriptor < 0)
        close_quietly(file);
    return failed;
}

/* Return NULL, or the path at which errno was set. */
static const char *put(const work *work)
{
    const char *failed = NULL;

    if (work->count >= 0)
        failed = write_synced(work);
    else if (work->parent && make_directory(work->directory, work->parent))
        failed = work->directory;
    if (failed || !work->path)
        return failed;
    if (rename(work->temporary, work->path))
        return work->path;
    return sync_directory(work->directory) ? work->directory : NULL;
}

PyDoc_STRVAR(place_doc, "place(descriptor, pieces, temporary, path, directory, parent, /)\n\n"
                        "Write the bytes *pieces* to a file, sync, rename, and sync the directory; see placing.py.");

/* A converter of PyArg_ParseTuple: a path in the encoding of the file system, or NULL for None. */
static int optional_path(PyObject *value, void *found)
{
    if (value != Py_None)
        return PyUnicode_FSConverter(value, found);
    *(PyObject **)found = NULL;
    return 1;
}

/* Return the data of all bytes in *held*, or NULL with an exception. */
static piece *pieces_of(PyObject *held)
{
    Py_ssize_t count = PyTuple_Size(held);
    piece *pieces = PyMem_Malloc(sizeof *pieces * (size_t)(count ? count : 1));

    if (!pieces)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; pieces && i < count; i++) {
        char *data;

        if (PyBytes_AsStringAndSize(PyTuple_GetItem(held, i), &data, &pieces[i].length)) {
            PyMem_Free(pieces);
            return NULL;
        }
        pieces[i].data = data;
    }
    return pieces;
}

static const char *text(PyObject *path)
{
    return path ? PyBytes_AsString(path) : NULL;
}

static PyObject *place(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int descriptor;
    PyObject *given, *held = NULL, *temporary = NULL, *path = NULL, *directory = NULL, *parent = NULL;
    piece *pieces = NULL;

    if (!PyArg_ParseTuple(arguments, "iOO&O&O&O&:place", &descriptor, &given, PyUnicode_FSConverter, &temporary,
                          optional_path, &path, optional_path, &directory, optional_path, &parent))
        return NULL;
    if (!directory && (path || parent))
        PyErr_SetString(PyExc_TypeError, "place() needs the directory");
    else if (given != Py_None && (held = PySequence_Tuple(given)))
        pieces = pieces_of(held); /* of a tuple of ours, which nobody changes while the GIL is away */
    if (!PyErr_Occurred()) {
        work work = {descriptor,      pieces,     held ? PyTuple_Size(held) : -1, text(temporary), text(path),
                     text(directory), text(parent)};
        const char *failed;

        Py_BEGIN_ALLOW_THREADS
        failed = put(&work);
        Py_END_ALLOW_THREADS
        if (failed)
            PyErr_SetFromErrnoWithFilename(PyExc_OSError, failed);
    }
    PyMem_Free(pieces);
    Py_XDECREF(held);
    Py_DECREF(temporary);
    Py_XDECREF(path);
    Py_XDECREF(directory);
    Py_XDECREF(parent);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    {"place", place, METH_VARARGS, place_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "powdo._disk",
    .m_doc = "What puts a file on disk under its name.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__disk(void)
{
    return PyModuleDef_Init(&module);
}

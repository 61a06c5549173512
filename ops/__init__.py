"""The faces of bulksend: command line (``cli``), embedded stack (``stack``, ``local``), demo."""

// A program of mobula_add_program: main() lies in its library, where Ray's workers find the functions too.
